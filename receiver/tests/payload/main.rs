//! Payloads: recorded shapes of the providers' deliveries to what follows from them, every way in which a field can be
//! missing or wrong, and incidents of other receivers by name.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod deliveries;
mod documented;
mod fields;
mod incidents;
mod laws;
mod refs;
