//! Bitbucket Data Center: `X-Hub-Signature: sha256=<64 hex>` over the body, by its documentation "Manage webhooks". Without
//! a secret there is none.

use super::hex_hmac::{Prefix, Scheme};

pub(super) const SCHEME: Scheme = Scheme { header: "x-hub-signature", prefix: Prefix::Sha256 };
