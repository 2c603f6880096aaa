//! The harness, tried on itself.
