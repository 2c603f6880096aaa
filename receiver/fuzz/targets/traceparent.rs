//! Any trace context.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| towline_receiver_fuzz::traceparent(data));
