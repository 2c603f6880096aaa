//! Forgejo: `X-Forgejo-Signature: <64 hex>` over the body, by its user guide "Webhooks"; empty where the webhook has no
//! secret. It sends the same under Gitea's, Gogs' and GitHub's names too; only its own is looked at, so that no other one
//! makes up for it.

use super::hex_hmac::{Prefix, Scheme};

pub(super) const SCHEME: Scheme = Scheme { header: "x-forgejo-signature", prefix: Prefix::None };
