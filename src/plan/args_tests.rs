use super::*;
use proptest::prelude::*;

fn list(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn flag(text: &str) -> FlagName {
    text.parse().unwrap()
}

fn after(edit: &ArgEdit, args: &str) -> String {
    edit.apply(&list(args)).join(" ")
}

#[test]
fn a_flag_is_dropped_in_every_form_and_nothing_beside_it() {
    let drop = ArgEdit::Drop { flag: flag("--log-dir") };
    assert_eq!(after(&drop, "k --log-dir=/a --log_dir /b -log-dir --log-dir-x=1 --v 2"), "k --log-dir-x=1 --v 2");
    assert_eq!(after(&drop, "k --log-dir -- --log-dir"), "k -- --log-dir");
    assert_eq!(after(&ArgEdit::Drop { flag: flag("--oom-score-adj") }, "k --oom-score-adj -999 --v 2"), "k --v 2");
}

#[test]
fn a_flag_is_set_where_it_stands_and_renamed_with_its_value() {
    let set = ArgEdit::Set { flag: flag("--lock"), value: "leases".into() };
    assert_eq!(after(&set, "k --lock=a --v 2 --lock b"), "k --lock=leases --v 2");
    assert_eq!(after(&set, "k --lock a --v 2"), "k --lock leases --v 2");
    assert_eq!(after(&set, "k --v 2 -- x"), "k --v 2 --lock=leases -- x");
    let rename = ArgEdit::Rename { from: flag("--old"), to: flag("--new") };
    assert_eq!(after(&rename, "e --old=1 -old 2 --older 3 --old"), "e --new=1 --new 2 --older 3 --new");
}

#[test]
fn gates_and_items_leave_their_list_and_an_empty_list_goes() {
    let drop = ArgEdit::DropGate { gate: "A".parse().unwrap() };
    assert_eq!(after(&drop, "k --feature-gates=A=true,AB=false --v 2"), "k --feature-gates=AB=false --v 2");
    assert_eq!(after(&drop, "k --feature_gates B=true,A=false,C=true"), "k --feature_gates B=true,C=true");
    assert_eq!(after(&drop, "k --feature-gates A=true --v 2 --feature-gates=A=1"), "k --v 2");
    let item = ArgEdit::DropItem { flag: flag("--runtime-config"), item: "a/v1alpha1".into() };
    assert_eq!(
        after(&item, "k --runtime-config=a/v1alpha1=true,a/v1alpha10=true,a/v1alpha1/things=true"),
        "k --runtime-config=a/v1alpha10=true"
    );
}

#[test]
fn a_flag_becomes_a_gate_of_its_value_in_the_one_list() {
    let gate = ArgEdit::ToGate { flag: flag("--experimental-x"), gate: "X".parse().unwrap() };
    assert_eq!(after(&gate, "etcd --experimental-x --a=1"), "etcd --a=1 --feature-gates=X=true");
    assert_eq!(after(&gate, "etcd --experimental-x=0 --feature-gates=Y=true"), "etcd --feature-gates=Y=true,X=false");
    assert_eq!(after(&gate, "etcd --feature-gates Y=true -experimental-x=true"), "etcd --feature-gates Y=true,X=true");
    assert_eq!(after(&gate, "etcd --feature-gates=X=false --experimental-x"), "etcd --feature-gates=X=false");
    assert_eq!(after(&gate, "etcd --a=1"), "etcd --a=1");
}

#[test]
fn a_change_reads_as_a_difference() {
    let before = list("k --a=1 --b 2 --c");
    let edits = [ArgEdit::Drop { flag: flag("--b") }, ArgEdit::Rename { from: flag("--c"), to: flag("--d") }];
    assert_eq!(arg_diff(&before, &ArgEdit::apply_all(&edits, &before)), ["- --b 2", "- --c", "+ --d"]);
}

#[test]
fn an_edit_reads_back_as_it_was_written() {
    let edits = vec![
        ArgEdit::Drop { flag: flag("--a") },
        ArgEdit::ToGate { flag: flag("--a"), gate: "X".parse().unwrap() },
        ArgEdit::Add { args: list("--a 1") },
    ];
    let text = serde_json::to_string(&edits).unwrap();
    assert_eq!(serde_json::from_str::<Vec<ArgEdit>>(&text).unwrap(), edits);
    assert!(serde_json::from_str::<ArgEdit>(r#"{"drop":{"flag":"--a b"}}"#).is_err());
}

fn names() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["--a", "--b", "--a-b", "--feature-gates", "--list"])
}

fn values() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["1", "-5", "A=true", "A=true,B=false", "B=0", "x/y,z", "x=1,y", "true", "false"])
}

/// Arguments as a container has them: the program, then flags in every form.
fn arguments() -> impl Strategy<Value = Vec<String>> {
    let one = (names(), values(), 0..3_u8).prop_map(|(name, value, form)| match form {
        0 => vec![name.to_owned()],
        1 => vec![format!("{name}={value}")],
        _ => vec![name.to_owned(), value.to_owned()],
    });
    prop::collection::vec(one, 0..8).prop_map(|all| [vec!["program".to_owned()], all.concat()].concat())
}

fn edits() -> impl Strategy<Value = ArgEdit> {
    let gate = || prop::sample::select(vec!["A", "B", "C"]).prop_map(|g| g.parse().unwrap());
    let name = || names().prop_map(flag);
    prop_oneof![
        name().prop_map(|flag| ArgEdit::Drop { flag }),
        (name(), values()).prop_map(|(flag, value)| ArgEdit::Set { flag, value: value.into() }),
        Just(ArgEdit::Rename { from: flag("--a"), to: flag("--a-b") }),
        gate().prop_map(|gate| ArgEdit::DropGate { gate }),
        gate().prop_map(|gate| ArgEdit::ToGate { flag: flag("--a"), gate }),
        Just(ArgEdit::DropItem { flag: flag("--list"), item: "x".into() }),
        (names(), values()).prop_map(|(name, value)| ArgEdit::Add { args: vec![name.into(), value.into()] }),
    ]
}

/// The flags that an edit speaks of.
fn touched(edit: &ArgEdit) -> Vec<String> {
    match edit {
        ArgEdit::Drop { flag } | ArgEdit::Set { flag, .. } | ArgEdit::DropItem { flag, .. } => {
            vec![flag.bare().to_owned()]
        }
        ArgEdit::Rename { from, to } => vec![from.bare().to_owned(), to.bare().to_owned()],
        ArgEdit::DropGate { .. } => vec![GATES.to_owned()],
        ArgEdit::ToGate { flag, .. } => vec![flag.bare().to_owned(), GATES.to_owned()],
        ArgEdit::Add { args } => vec![args[0].trim_start_matches('-').to_owned()],
    }
}

fn others(args: &[String], touched: &[String]) -> Vec<Vec<String>> {
    let other = |w: &&Word<'_>| w.name.as_deref().is_none_or(|name| !touched.iter().any(|t| t == name));
    words(args).iter().filter(other).map(|w| w.of(args).to_vec()).collect()
}

proptest! {
    #[test]
    fn an_edit_does_nothing_twice_and_leaves_the_others_in_order(args in arguments(), edit in edits()) {
        let once = edit.apply(&args);
        prop_assert_eq!(&edit.apply(&once), &once);
        let touched = touched(&edit);
        prop_assert_eq!(others(&once, &touched), others(&args, &touched));
    }

    #[test]
    fn an_undo_brings_back_what_the_arguments_said(args in arguments(), edits in prop::collection::vec(edits(), 0..4)) {
        let after = ArgEdit::apply_all(&edits, &args);
        let back = ArgEdit::apply_all(&ArgEdit::undo(&edits, &args), &after);
        let said = |args: &[String]| {
            let mut all: Vec<Vec<String>> = words(args).iter().map(|w| w.of(args).to_vec()).collect();
            all.sort();
            all
        };
        let (mut was, mut is) = (said(&args), said(&back));
        // The same words twice say the same once.
        was.dedup();
        is.dedup();
        prop_assert_eq!(is, was);
    }

    #[test]
    fn any_arguments_are_read(args in prop::collection::vec("\\PC{0,12}|--?[a-c](=[a-c,=]{0,4})?", 0..8), edit in edits()) {
        let _ = edit.apply(&args);
        prop_assert_eq!(words(&args).iter().map(|w| w.len).sum::<usize>(), args.len());
    }
}

#[test]
fn a_masked_value_goes_back_with_its_flag_or_is_said_to_be_lost() {
    let masked = "(masked:0123456789abcdef)";
    let flag = |name: &str| name.parse::<FlagName>().unwrap();
    let before = list(&format!("kubelet --old={masked} --v=2"));
    let rename = [ArgEdit::Rename { from: flag("--old"), to: flag("--new") }];
    assert_eq!(ArgEdit::undo(&rename, &before), [ArgEdit::Rename { from: flag("--new"), to: flag("--old") }]);
    assert!(ArgEdit::lost(&rename, &before).is_empty());
    // On the node the real value goes with it.
    let there = ArgEdit::apply_all(&rename, &list("kubelet --old=hunter2 --v=2"));
    assert_eq!(ArgEdit::apply_all(&ArgEdit::undo(&rename, &before), &there), list("kubelet --old=hunter2 --v=2"));
    let drop = [ArgEdit::Drop { flag: flag("--old") }];
    assert_eq!(ArgEdit::undo(&drop, &before), []);
    assert_eq!(ArgEdit::lost(&drop, &before), ["--old"]);
    let set = [ArgEdit::Set { flag: flag("--old"), value: "x".into() }];
    assert_eq!(ArgEdit::lost(&set, &before), ["--old"]);
    assert!(ArgEdit::lost(&[ArgEdit::Drop { flag: flag("--v") }], &before).is_empty());
}
