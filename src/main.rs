//! The `sonoba` program: the library's command line, nothing more.

fn main() {}
