#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = sonoba::fuzzing::swap_state(bytes);
});
