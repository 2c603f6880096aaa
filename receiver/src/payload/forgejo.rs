//! Forgejo's deliveries, which have kept Gitea's events and fields.

pub(super) use super::gitea::read;
