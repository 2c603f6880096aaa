//! Any glob against any name.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| towline_receiver_fuzz::allow(data));
