//! The mirror against real Git over real HTTP.
//!
//! Fixtures are made by `git` with an environment of its own; `git http-backend` serves them; faults are the test server's. What
//! must not happen in time is judged by deadlines that are generous on a slow machine, never by a fixed sleep.

mod failing;
mod fetching;
mod keeping;
mod lab;
mod limits;
mod reading;
mod server;
