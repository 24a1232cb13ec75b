//! Masks, one rule after the other. The many shapes are in `corpus`.

use super::*;

fn salt(first: u8) -> Salt {
    Salt::new([first; 32])
}

pub(super) fn masker() -> Masker {
    Masker::new(salt(7), ["--house_flag".to_owned()])
}

/// A command line with each mask as `***`.
fn shown(line: &[&str]) -> String {
    let words: Vec<String> = masker().args(line.iter().copied()).iter().map(|word| starred(word)).collect();
    words.join(" ")
}

fn starred(word: &str) -> String {
    let mut out = word.to_owned();
    while let Some(at) = out.find(MASK) {
        let end = at + out[at..].find(')').unwrap() + 1;
        assert!(is_masked(&out[at..end]), "{out}");
        out.replace_range(at..end, "***");
    }
    out
}

#[test]
fn values_under_flags_that_are_not_known_are_masked() {
    assert_eq!(
        shown(&["x", "--api-key=hunter2", "--api-key", "hunter2", "-k", "hunter2"]),
        "x --api-key=*** --api-key *** -k ***"
    );
    assert_eq!(shown(&["x", "--secret=/abc", "--secret", "/abc"]), "x --secret=*** --secret ***");
    assert_eq!(shown(&["x", "-pHunter2", "-phunter2", "-Dpass=x"]), "x *** *** -Dpass=***");
    assert_eq!(shown(&["x", "--password", "-Hunter2", "--v=2"]), "x --password *** --v=2");
    assert_eq!(shown(&["x", "--verbose=true", "--verbose"]), "x --verbose=true --verbose");
}

#[test]
fn values_under_known_flags_are_shown() {
    let line =
        ["kubelet", "--v", "2", "--oom_score_adj", "-999", "--house-flag=a", "--house_flag", "b", "-data-dir=/x"];
    assert_eq!(shown(&line), line.join(" "));
    // A switch takes no further word, and nothing but a truth value.
    assert_eq!(shown(&["x", "--anonymous-auth", "hunter2"]), "x --anonymous-auth ***");
    assert_eq!(shown(&["x", "--anonymous-auth=hunter2"]), "x --anonymous-auth=***");
}

#[test]
fn a_flag_for_a_file_shows_paths_alone() {
    let files = "x --token-auth-file=/etc/k/tokens.csv --tls-private-key-file /etc/k/key.pem --key-file=server.key";
    assert_eq!(shown(&files.split(' ').collect::<Vec<_>>()), files);
    let names = "x --tls-sni-cert-key=/a.crt,/a.key:*.example.com --audit-policy-file=-";
    assert_eq!(shown(&names.split(' ').collect::<Vec<_>>()), names);
    assert_eq!(shown(&["x", "--token-auth-file=hunter2,admin,1"]), "x --token-auth-file=***");
    assert_eq!(shown(&["x", "--tls-private-key-file=/a:hunter2"]), "x --tls-private-key-file=***");
}

#[test]
fn users_and_queries_of_urls_are_masked_everywhere() {
    let servers = "--etcd-servers=https://root:hunter2@10.0.0.1:2379,http://b@c:1/,https://d:1";
    assert_eq!(shown(&["x", servers]), "x --etcd-servers=https://***@10.0.0.1:2379,http://***@c:1/,https://d:1");
    assert_eq!(shown(&["x", "--etcd-servers=https://u:p,w@h:1"]), "x --etcd-servers=https://***@h:1");
    assert_eq!(shown(&["x", "--etcd-servers=https://u:p/w@h:1"]), "x --etcd-servers=https://***@h:1");
    assert_eq!(shown(&["x", "--upstreams=u:p@h:1"]), "x ***".replacen("***", "--upstreams=***", 1));
    assert_eq!(shown(&["x", "--manifest-url=https://h/p?sig=abc"]), "x --manifest-url=https://h/p?***");
    let image = "--pod-infra-container-image=r.k8s.io/pause@sha256:7031c1b283388d2c2e09b57badb803c05ebed362dc88d84b480cc47f72a21097";
    assert_eq!(shown(&["x", image]), format!("x {image}"));
}

#[test]
fn words_without_a_flag_are_shown_if_they_are_programs_or_paths() {
    let line = ["/usr/bin/tini", "--", "hyperkube", "kubelet", "/opt/run.sh", "-", ""];
    assert_eq!(shown(&line), line.join(" "));
    assert_eq!(shown(&["sh", "-c", "exec kubelet --token hunter2"]), "sh -c ***");
    assert_eq!(shown(&["sh", "-ec", "/opt/run.sh", "hunter2"]), "sh -ec /opt/run.sh ***");
    assert_eq!(shown(&["env", "TOKEN=hunter2", "kubelet"]), "env TOKEN=*** kubelet");
    assert_eq!(shown(&["kubelet --token=hunter2"]), "***");
    assert_eq!(shown(&["x", "/9j4AAQSkZJRgABAQAAAQABAAD2wBDAAgGBgcGBQgH"]), "x ***");
}

#[test]
fn a_mask_tells_equal_values_of_one_salt_alone() {
    let one = |first: u8, value: &str| Masker::new(salt(first), []).args(["x", "--api-key", value]).remove(2);
    assert_eq!(one(1, "hunter2"), one(1, "hunter2"));
    assert_ne!(one(1, "hunter2"), one(1, "hunter3"));
    assert_ne!(one(1, "hunter2"), one(2, "hunter2"));
    assert!(is_masked(&one(1, "hunter2")) && is_masked(&format!("--x={}", one(1, "y"))));
    for plain in ["--x=(masked:12)", "(masked:)", "x", "(masked:zzzzzzzzzzzzzzzz)"] {
        assert!(!is_masked(plain), "{plain}");
    }
}

#[test]
fn what_is_said_of_a_container_has_none_of_its_masked_arguments() {
    let args = ["kubelet", "--v=2", "--token=hunter2", "--pin", "1"];
    let said = masker().redact("bad word --token=hunter2 (hunter2), KEY=geheim, -v=2, 1", args, ["geheim"]);
    assert_eq!(said, "bad word (masked) ((masked)), KEY=(masked), -v=2, 1");
    let runc =
        "runc create failed: exec: \"kubelet --token=hunter2\": no such file; exec: \"/bin/x\": permission denied";
    assert_eq!(
        without_command(runc),
        "runc create failed: exec: \"(masked)\": no such file; exec: \"/bin/x\": permission denied"
    );
    assert_eq!(without_command("exec: \"kubelet --token=hunter2"), "exec: \"(masked)");
}

#[test]
fn a_salt_reads_back_and_is_not_shown_in_logs() {
    let text = serde_json::to_string(&salt(0xab)).unwrap();
    assert_eq!(text, format!("\"{}\"", "ab".repeat(32)));
    assert_eq!(serde_json::from_str::<Salt>(&text).unwrap(), salt(0xab));
    for bad in ["\"\"", "\"abc\"", &format!("\"{}\"", "zz".repeat(32)), &format!("\"{}\"", "é".repeat(32))] {
        assert!(serde_json::from_str::<Salt>(bad).is_err(), "{bad}");
    }
    assert_eq!(format!("{:?}", salt(1)), "Salt");
}

proptest::proptest! {
    #[test]
    fn any_command_line_keeps_its_length(args in proptest::collection::vec("\\PC{0,30}|--?[a-z]{1,4}(=\\PC{0,9})?", 0..6)) {
        let masked = masker().args(args.iter().map(String::as_str));
        proptest::prop_assert_eq!(masked.len(), args.len());
        proptest::prop_assert_eq!(masked.iter().flat_map(|word| word.chars()).find(|c| crate::fleet::is_unclean(*c)), None);
    }

    #[test]
    fn no_value_under_a_flag_that_is_not_known_comes_through(
        flag in "--[a-z]{1,9}-(key|pass|cred|x)", value in "[A-Z0-9]{6,20}", apart in proptest::prelude::any::<bool>(),
    ) {
        let args = if apart { vec![flag, value.clone()] } else { vec![format!("{flag}={value}")] };
        let shown = masker().args(std::iter::once("x").chain(args.iter().map(String::as_str))).join(" ");
        // A digest is written in small letters.
        proptest::prop_assert!(!shown.contains(&value), "{}", shown);
    }
}
