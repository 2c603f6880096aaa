//! Any body, signed, against the reader of GitLab.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| towline_receiver_fuzz::payload(towline_receiver::Provider::Gitlab, data));
