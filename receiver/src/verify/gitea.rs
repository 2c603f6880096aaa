//! Gitea: `X-Gitea-Signature: <64 hex>` over the body, by its documentation "Webhooks"; empty where the webhook has no
//! secret. It sends GitHub's and Gogs' headers too; only its own is looked at.

use super::hex_hmac::{Prefix, Scheme};

pub(super) const SCHEME: Scheme = Scheme { header: "x-gitea-signature", prefix: Prefix::None };
