#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cairnfile_fuzz::values(data));
