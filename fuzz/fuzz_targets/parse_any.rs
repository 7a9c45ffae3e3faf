#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cairnfile_fuzz::parse_any(data));
