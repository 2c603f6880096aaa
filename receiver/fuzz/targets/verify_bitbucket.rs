//! Any headers and any body against the verifier of Bitbucket Cloud.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    towline_receiver_fuzz::verify(towline_receiver::Provider::Bitbucket, data);
});
