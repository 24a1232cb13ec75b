//! Shapes of arguments with secrets and without: none of the first comes through, every one of the second does.

use super::shapes::{CHOSEN, MADE, PLAIN, with_secrets};
use super::tests::masker;

fn line<'a>(program: &'a str, args: &'a [impl AsRef<str>]) -> impl Iterator<Item = &'a str> {
    std::iter::once(program).chain(args.iter().map(AsRef::as_ref))
}

#[test]
fn no_secret_comes_through() {
    let mut leaks = Vec::new();
    for args in with_secrets() {
        for program in ["kubelet", "sh"] {
            let shown = masker().args(line(program, &args)).join(" ");
            if shown.contains(CHOSEN) || shown.contains(MADE) {
                leaks.push(format!("{} is shown as {shown}", args.join(" ")));
            }
        }
    }
    assert!(leaks.is_empty(), "{} leaks:\n{}", leaks.len(), leaks.join("\n"));
}

#[test]
fn what_is_no_secret_is_readable() {
    let mut hidden = Vec::new();
    for args in PLAIN {
        let program = if args.first() == Some(&"-c") { "sh" } else { "kubelet" };
        let shown = masker().args(line(program, args)).join(" ");
        if shown != line(program, args).collect::<Vec<_>>().join(" ") {
            hidden.push(format!("{} is shown as {shown}", args.join(" ")));
        }
    }
    assert!(hidden.is_empty(), "{} hidden:\n{}", hidden.len(), hidden.join("\n"));
}
