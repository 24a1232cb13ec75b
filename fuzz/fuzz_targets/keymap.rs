#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sonoba_fuzz::knock(sonoba::fuzzing::keymap, bytes));
