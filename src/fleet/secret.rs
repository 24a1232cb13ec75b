//! A command line without what is nobody's business: it is kept in plans and journals, which people pass on.

/// Words in a flag's name that say that its value is a secret.
const SECRET: [&str; 8] = ["token", "password", "passwd", "secret", "key-data", "credential", "bearer", "auth-header"];
/// What stands in a secret's place.
const HIDDEN: &str = "(not kept)";

/// `args` with the values of flags that look secret, and the passwords in URLs, taken out. A file's path is no secret.
pub fn without_secrets(args: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut hide_next = false;
    args.into_iter()
        .map(|arg| {
            if std::mem::take(&mut hide_next) && !arg.starts_with('-') {
                return HIDDEN.to_owned();
            }
            match arg.split_once('=') {
                Some((flag, value)) if secret(flag, value) => format!("{flag}={HIDDEN}"),
                None if arg.starts_with('-') && secret(&arg, "") => {
                    hide_next = true;
                    arg
                }
                _ => without_passwords(&arg),
            }
        })
        .collect()
}

/// Whether a flag (or a variable: `NAME=value`) holds a secret.
fn secret(flag: &str, value: &str) -> bool {
    let flag = flag.to_ascii_lowercase().replace('_', "-");
    let names_file =
        ["-file", "-path", "-dir", "-ttl", "-controller", "-controllers"].iter().any(|end| flag.ends_with(end));
    let plain = value.starts_with('/') || ["true", "false"].contains(&value);
    !names_file && !plain && SECRET.iter().any(|word| flag.contains(word))
}

/// `https://user:password@host` without the password.
fn without_passwords(arg: &str) -> String {
    let mut out = String::with_capacity(arg.len());
    let mut rest = arg;
    while let Some(at) = rest.find("://") {
        let (head, tail) = rest.split_at(at + 3);
        out.push_str(head);
        let place = tail.find(['/', ',', ' ', '?', '#']).unwrap_or(tail.len());
        rest = match tail[..place].rfind('@') {
            Some(end) => {
                let user = tail[..end].split(':').next().unwrap_or_default();
                out.push_str(user);
                if user.len() < end {
                    out.push(':');
                    out.push_str(HIDDEN);
                }
                &tail[end..]
            }
            None => tail,
        };
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(args: &[&str]) -> Vec<String> {
        without_secrets(args.iter().map(|a| (*a).to_owned()))
    }

    #[test]
    fn secrets_go_and_what_the_engine_needs_stays() {
        let args = ["kube-apiserver", "--endpoint-reconciler-type=none", "--advertise-address=10.69.0.3", "-v=2"];
        assert_eq!(shown(&args), args);
        let files =
            ["--token-auth-file=/etc/k/tokens.csv", "--tls-private-key-file=/etc/k/key.pem", "--client-ca-file", "/x"];
        assert_eq!(shown(&files), files);
        assert_eq!(
            shown(&["--concurrent-serviceaccount-token-syncs=5"]),
            ["--concurrent-serviceaccount-token-syncs=(not kept)"]
        );
        for secret in [
            "--token=hunter2",
            "--PASSWORD=hunter2",
            "--client-key-data=hunter2",
            "DB_PASSWORD=hunter2",
            "-secret=hunter2",
        ] {
            let kept = shown(&[secret]).join(" ");
            assert!(!kept.contains("hunter2") && kept.ends_with("=(not kept)"), "{kept}");
        }
        assert_eq!(shown(&["--token", "hunter2", "-v", "2"]), ["--token", "(not kept)", "-v", "2"]);
        assert_eq!(shown(&["--token", "--v=2"]), ["--token", "--v=2"]);
    }

    #[test]
    fn passwords_in_urls_go() {
        assert_eq!(
            shown(&["--etcd-servers=https://root:hunter2@10.0.0.1:2379,http://b@c:1/,https://d:1"]),
            ["--etcd-servers=https://root:(not kept)@10.0.0.1:2379,http://b@c:1/,https://d:1"]
        );
    }

    proptest::proptest! {
        #[test]
        fn any_command_line_keeps_its_length(args in proptest::collection::vec("\\PC{0,30}", 0..6)) {
            proptest::prop_assert_eq!(without_secrets(args.clone()).len(), args.len());
        }

        #[test]
        fn no_secret_comes_through(
            flag in "--[a-z]{0,5}(token|password|secret|key-data)", value in "[A-Z0-9]{6,20}", apart in proptest::prelude::any::<bool>(),
        ) {
            let args = if apart { vec![flag, value.clone()] } else { vec![format!("{flag}={value}")] };
            proptest::prop_assert!(!without_secrets(args).join(" ").contains(&value));
        }
    }
}
