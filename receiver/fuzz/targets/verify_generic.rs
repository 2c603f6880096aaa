//! Any headers and any body against the verifier of Standard Webhooks.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    towline_receiver_fuzz::verify(towline_receiver::Provider::Generic, data);
});
