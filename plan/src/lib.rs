//! The pure core: what to do, decided from values.
pub mod tree;
