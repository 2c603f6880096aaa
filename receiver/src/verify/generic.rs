//! Any sender that signs by Standard Webhooks; nothing else is believed.

pub(super) use super::standard_webhooks::check;
