//! A node that lies: its Docker and its shell answer what a terminal would act on, secrets, and more than anybody can hold.

use super::Node;
use sonoba::fleet::is_unclean;
use sonoba::remote::{NodeError, NodePort};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

const EVIL: &str = "\u{1b}[2J\u{9b}31m\u{202e}evil\u{2028}\r\n\u{200b}";

/// What Docker answers to everything but its version: a status and a body. A body of no length never ends.
type Answer = Arc<Mutex<(u16, Option<String>)>>;

fn docker(node: &Node, answer: Answer, lists: Arc<Mutex<String>>) -> tokio::task::JoinHandle<()> {
    let listener = UnixListener::bind(node.path("docker.sock")).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (answer, lists) = (Arc::clone(&answer), Arc::clone(&lists));
            tokio::spawn(async move {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(stream.read_u8().await?);
                }
                let request = String::from_utf8_lossy(&request);
                let list = lists.lock().unwrap().clone();
                let (status, body) = match &*request {
                    r if r.contains("/version ") => (200, Some(r#"{"ApiVersion":"1.44"}"#.to_owned())),
                    r if r.contains("/containers/json") && !list.is_empty() => (200, Some(list)),
                    _ => answer.lock().unwrap().clone(),
                };
                let length = body.as_ref().map_or(String::new(), |b| format!("Content-Length: {}\r\n", b.len()));
                stream.write_all(format!("HTTP/1.1 {status} X\r\n{length}\r\n").as_bytes()).await?;
                match body {
                    Some(body) => stream.write_all(body.as_bytes()).await,
                    None => loop {
                        stream.write_all(&[b'"'; 1 << 16]).await?;
                    },
                }
            });
        }
    })
}

fn harmless(error: NodeError) -> String {
    let text = error.to_string();
    assert!(!text.contains(is_unclean), "{text:?}");
    assert!(text.chars().count() <= 1_001, "{} characters: {:.200}", text.len(), text);
    text
}

async fn look(port: &dyn NodePort) -> Result<sonoba::remote::Look, NodeError> {
    port.look(&["kubelet".parse().unwrap()]).await
}

#[tokio::test]
async fn what_docker_says_is_cleaned_bounded_and_without_secrets() {
    let Some(node) = Node::start(false) else { return };
    let answer: Answer = Arc::new(Mutex::new((200, Some("[]".into()))));
    // Once there is one, the list has an answer of its own.
    let lists = Arc::new(Mutex::new(String::new()));
    let _docker = docker(&node, Arc::clone(&answer), Arc::clone(&lists));
    let say = |status, body: Option<String>| *answer.lock().unwrap() = (status, body);
    let port = node.port(&node.profile(), node.ports[0]).unwrap();
    assert_eq!(look(port.as_ref()).await.unwrap(), Default::default());

    let message = serde_json::json!({"message": EVIL.repeat(200_000)}).to_string();
    for (status, body) in [(500, message), (500, EVIL.repeat(100_000)), (200, EVIL.into())] {
        say(status, Some(body));
        let error = look(port.as_ref()).await.unwrap_err();
        assert!(matches!(error, NodeError::Failed(_)));
        assert!(harmless(error).contains("n1"));
    }
    say(200, None);
    harmless(look(port.as_ref()).await.unwrap_err());

    // The list names it, and then it runs an image that is none.
    let listed = |image: &str, args: Vec<String>| {
        serde_json::json!({"Id": EVIL.repeat(1_000), "Image": "sha256:1", "Path": EVIL, "Args": args, "Config": {"Image": image},
            "State": {"Running": true}})
    };
    let list = serde_json::json!([{"Names": ["/kubelet", format!("/{EVIL}"), "/../kubelet.sonoba-next"]}]).to_string();
    *lists.lock().unwrap() = list;
    say(200, Some(listed(EVIL, vec![]).to_string()));
    assert!(harmless(look(port.as_ref()).await.unwrap_err()).contains("container kubelet"));

    let mut args = vec!["--token=s3cret".to_owned(), "--etcd=https://a:s3cret@b:1".to_owned(), EVIL.repeat(9_000)];
    args.extend((0..9_000).map(|i| format!("--{i}")));
    say(200, Some(listed("a/b:1", args).to_string()));
    let seen = look(port.as_ref()).await.unwrap();
    let running = &seen.running[0];
    assert!(seen.leftovers.is_empty() && running.id.chars().count() <= 101);
    assert!((400..=500).contains(&running.args.len()), "{}", running.args.len());
    for text in running.args.iter().chain([&running.id, &running.image_id]) {
        assert!(!text.contains(is_unclean) && !text.contains("s3cret") && text.chars().count() <= 2_001, "{text:?}");
    }
}

#[tokio::test]
async fn what_a_shell_says_is_cleaned_and_bounded() {
    let Some(node) = Node::start(false) else { return };
    let port = node.port(&node.profile(), node.ports[0]).unwrap();
    let tx = "r1.n1.s1.1".parse().unwrap();
    assert!(!port.tx_state(&tx).await.unwrap().found);
    let folder = node.path("home/.sonoba");
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    let script = fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).find(|p| p.extension().is_some()).unwrap();
    let evil = EVIL.replace('\'', "");
    // A script of another length is not run at all, so the liar's has the same.
    let length = fs::metadata(&script).unwrap().len();
    let put = |lie: &str| {
        let lie = format!("{lie}\nexit $?\n");
        let rest = usize::try_from(length).unwrap() - lie.len();
        fs::write(&script, lie + &"#".repeat(rest)).unwrap();
    };
    for lie in [
        format!("printf '%s' '{evil}' >&2; exit 1"),
        format!("while :; do printf '%s' '{evil}'; done | head -c 3000000 >&2; exit 1"),
        format!("printf 'sonoba-tx 1\\n%s\\n.\\n' '{evil}'"),
        "echo sonoba-tx 1; yes step 1 begun | head -n 100000; echo .".into(),
        "yes | head -c 3000000".into(),
        String::new(),
    ] {
        put(&lie);
        harmless(port.tx_state(&tx).await.unwrap_err());
        harmless(port.give_verdict(&tx, sonoba::journal::Verdict::Commit, &crate::fence()).await.unwrap_err());
    }
    put(&format!("printf 'sonoba-tx 1\\nwhy %s\\n.\\n' '{}'", evil.replace(['\r', '\n'], "")));
    assert_eq!(port.tx_state(&tx).await.unwrap().why, "[2J31mevil ");
}
