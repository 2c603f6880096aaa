//! Bitbucket Cloud: `X-Hub-Signature: sha256=<64 hex>` over the body, by its documentation "Manage webhooks". The header is
//! called as GitHub's old SHA-1 one, and is SHA-256. Without a secret there is none.

use super::hex_hmac::{Prefix, Scheme};

pub(super) const SCHEME: Scheme = Scheme { header: "x-hub-signature", prefix: Prefix::Sha256 };
