use super::*;

fn to() -> Image {
    "reg:5000/new:2".parse().unwrap()
}

/// As `docker inspect` shows a kubelet of CKE's, shortened; with fields that no client of ours knows.
fn kubelet() -> (Value, Value) {
    let image = json!({"Id": "sha256:aa", "Config": {
        "Env": ["PATH=/usr/bin:/bin", "GODEBUG=x"], "Cmd": ["bash"], "Entrypoint": null, "WorkingDir": "/",
        "User": "", "Labels": {"org.opencontainers.image.version": "1.35"}, "StopSignal": "SIGTERM",
        "Healthcheck": {"Test": ["NONE"]}
    }});
    let old = json!({
        "Id": "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "Image": "sha256:aa",
        "Config": {
            "Hostname": "node1", "Domainname": "", "User": "", "Env": ["A=b", "PATH=/usr/bin:/bin", "GODEBUG=mine"],
            "Cmd": ["kubelet", "--config=/etc/k.yml"], "Entrypoint": null, "Image": "old:1", "WorkingDir": "/",
            "Labels": {"com.cybozu.cke": "{\"a\":1}", "org.opencontainers.image.version": "1.35"},
            "StopSignal": "SIGTERM", "Healthcheck": {"Test": ["NONE"]}, "Tty": false, "OnBuild": null, "FieldOfTomorrow": {"x": 1}
        },
        "HostConfig": {
            "Binds": ["/var/lib/kubelet:/var/lib/kubelet:rshared", "/dev:/dev"], "NetworkMode": "host", "PidMode": "host",
            "UTSMode": "host", "Privileged": true, "ReadonlyRootfs": true, "Tmpfs": {"/tmp": ""},
            "RestartPolicy": {"Name": "always", "MaximumRetryCount": 0}, "AutoRemove": false,
            "LogConfig": {"Type": "journald", "Config": {}}, "Ulimits": [{"Name": "nofile", "Hard": 9, "Soft": 8}],
            "OomScoreAdj": -998, "HostFieldOfTomorrow": [1]
        },
        "Mounts": [{"Type": "bind", "Source": "/dev", "Destination": "/dev"}],
        "NetworkSettings": {"Networks": {"host": {"Aliases": null}}}
    });
    (old, image)
}

#[test]
fn a_kubelet_keeps_all_that_was_asked_and_leaves_what_the_image_brought() {
    let (old, image) = kubelet();
    let next = successor(&old, &image, &to(), &[]).unwrap();
    let body = &next.body;
    assert_eq!(body["Image"], "reg:5000/new:2");
    assert_eq!(body["Cmd"], old["Config"]["Cmd"]);
    assert_eq!(body["Env"], json!(["A=b", "GODEBUG=mine"]));
    assert_eq!(body["Labels"], json!({"com.cybozu.cke": "{\"a\":1}"}));
    assert_eq!(body["FieldOfTomorrow"], json!({"x": 1}));
    for gone in ["Hostname", "Entrypoint", "WorkingDir", "StopSignal", "Healthcheck", "OnBuild", "NetworkingConfig"] {
        assert!(body.get(gone).is_none(), "{gone}: {}", body[gone]);
    }
    assert_eq!(body["HostConfig"], old["HostConfig"]);
    assert!(next.networks.is_empty());
}

#[test]
fn volumes_with_and_without_a_name_are_carried_over() {
    let (mut old, mut image) = kubelet();
    image["Config"]["Volumes"] = json!({"/data": {}});
    old["Config"]["Volumes"] = json!({"/data": {}, "/more": {}});
    old["HostConfig"]["Binds"] = json!(["etcd-cke:/var/lib/etcd"]);
    old["HostConfig"]["Mounts"] = json!([{"Type": "volume", "Target": "/m"}]);
    let volume =
        |name: &str, place: &str, rw: bool| json!({"Type": "volume", "Name": name, "Destination": place, "RW": rw});
    old["Mounts"] = json!([
        volume("etcd-cke", "/var/lib/etcd", true), volume("f00", "/data", true), volume("f01", "/more", false),
        volume("f02", "/m", true), {"Type": "tmpfs", "Destination": "/tmp"}
    ]);
    let body = successor(&old, &image, &to(), &[]).unwrap().body;
    assert_eq!(body["HostConfig"]["Binds"], json!(["etcd-cke:/var/lib/etcd", "f00:/data", "f01:/more:ro"]));
    assert_eq!(body["HostConfig"]["Mounts"], json!([{"Type": "volume", "Target": "/m", "Source": "f02"}]));
    assert_eq!(body["Volumes"], json!({"/more": {}}));
    old["HostConfig"].as_object_mut().unwrap().remove("Binds");
    old["Mounts"] = json!([volume("f00", "/data", true)]);
    assert_eq!(successor(&old, &image, &to(), &[]).unwrap().body["HostConfig"]["Binds"], json!(["f00:/data"]));
}

#[test]
fn entry_point_and_command_follow_docker_rules() {
    let case = |image: (Value, Value), container: (Value, Value)| {
        let (mut old, mut inspect) = kubelet();
        inspect["Config"]["Entrypoint"] = image.0;
        inspect["Config"]["Cmd"] = image.1;
        old["Config"]["Entrypoint"] = container.0;
        old["Config"]["Cmd"] = container.1;
        let body = successor(&old, &inspect, &to(), &[]).unwrap().body;
        (body.get("Entrypoint").cloned(), body.get("Cmd").cloned())
    };
    let (e, c, x) = (json!(["/e"]), json!(["c"]), json!(["x"]));
    // Both are the image's.
    assert_eq!(case((e.clone(), c.clone()), (e.clone(), c.clone())), (None, None));
    // Arguments of its own.
    assert_eq!(case((e.clone(), c.clone()), (e.clone(), x.clone())), (None, Some(x.clone())));
    // An entry point of its own: the same words as the image's Cmd were then asked for.
    assert_eq!(case((e.clone(), c.clone()), (x.clone(), c.clone())), (Some(x.clone()), Some(c.clone())));
    // The image's entry point was taken away.
    assert_eq!(case((e.clone(), c.clone()), (json!(null), x.clone())), (Some(json!([""])), Some(x)));
}

#[test]
fn edited_arguments_are_asked_for_and_nothing_else_changes() {
    let edits = [ArgEdit::Drop { flag: "--bad".parse().unwrap() }];
    let case = |image: (Value, Value), container: (Value, Value)| {
        let (mut old, mut inspect) = kubelet();
        (inspect["Config"]["Entrypoint"], inspect["Config"]["Cmd"]) = image;
        (old["Config"]["Entrypoint"], old["Config"]["Cmd"]) = container;
        let body = successor(&old, &inspect, &to(), &edits).unwrap().body;
        (body.get("Entrypoint").cloned(), body.get("Cmd").cloned())
    };
    let none = json!(null);
    let (e, bad, good) = (json!(["/e"]), json!(["--bad", "x", "--a=1"]), json!(["--a=1"]));
    // CKE's way: the whole command line is the container's own, and the image has no entry point.
    let cke = json!(["kubelet", "--bad=x", "--a=1"]);
    assert_eq!(case((none.clone(), json!(["bash"])), (none.clone(), cke)), (None, Some(json!(["kubelet", "--a=1"]))));
    // The entry point stays the image's.
    assert_eq!(case((e.clone(), none.clone()), (e.clone(), bad.clone())), (None, Some(good.clone())));
    // The arguments were the image's: they are asked for now.
    assert_eq!(case((e.clone(), bad.clone()), (e.clone(), bad.clone())), (None, Some(good.clone())));
    // The entry point was taken away, and still is.
    assert_eq!(case((e.clone(), none.clone()), (none.clone(), bad.clone())), (Some(json!([""])), Some(good.clone())));
    // The flag stands in the entry point, or was all that there was.
    let entry = json!(["/e", "--bad"]);
    assert_eq!(
        case((e.clone(), none.clone()), (entry, json!(["y", "--a=1"]))),
        (Some(json!(["/e", "--a=1"])), Some(json!([])))
    );
    assert_eq!(case((e.clone(), none.clone()), (e.clone(), json!(["--bad"]))), (Some(e.clone()), Some(json!([]))));
    // It is not there: nothing is asked for that was not.
    assert_eq!(case((e.clone(), good.clone()), (e.clone(), good.clone())), (None, None));
    let (old, image) = kubelet();
    let plain = successor(&old, &image, &to(), &[]).unwrap();
    assert_eq!(successor(&old, &image, &to(), &edits).unwrap(), plain);
}

#[test]
fn networks_keep_aliases_and_addresses() {
    let (mut old, image) = kubelet();
    old["HostConfig"]["NetworkMode"] = json!("blue");
    old["HostConfig"]["UTSMode"] = json!("");
    old["Config"]["Hostname"] = json!("0123456789ab");
    old["NetworkSettings"]["Networks"] = json!({
        "blue": {"Aliases": ["db", "0123456789ab"], "IPAMConfig": {"IPv4Address": "10.9.0.9"}, "IPAddress": "10.9.0.9", "MacAddress": "02:00"},
        "red": {"Aliases": null, "IPAMConfig": {}}
    });
    let next = successor(&old, &image, &to(), &[]).unwrap();
    assert_eq!(
        next.body["NetworkingConfig"],
        json!({"EndpointsConfig": {"blue": {"Aliases": ["db"], "IPAMConfig": {"IPv4Address": "10.9.0.9"}}}})
    );
    assert_eq!(next.networks, [("red".to_owned(), json!({}))]);
    assert!(next.body.get("Hostname").is_none(), "made from the old one's id");
}

#[test]
fn a_container_that_removes_itself_is_refused() {
    let (mut old, image) = kubelet();
    old["HostConfig"]["AutoRemove"] = json!(true);
    assert!(successor(&old, &image, &to(), &[]).unwrap_err().contains("--rm"));
    assert!(successor(&json!({}), &image, &to(), &[]).is_err());
}

#[test]
fn a_difference_is_found_and_an_empty_one_is_none() {
    let (old, image) = kubelet();
    let body = successor(&old, &image, &to(), &[]).unwrap().body;
    let mut new = json!({"Config": body.clone(), "HostConfig": body["HostConfig"].clone()});
    new["Config"]["Env"] = json!(["PATH=/new", "A=b", "GODEBUG=mine"]);
    new["Config"]["Labels"]["of.the.new.image"] = json!("2");
    new["HostConfig"]["Links"] = json!([]);
    assert_eq!(differences(&body, &new), Vec::<String>::new());
    new["HostConfig"]["Privileged"] = json!(false);
    new["HostConfig"]["CapAdd"] = json!(["ALL"]);
    new["Config"]["Cmd"] = json!(["other"]);
    let found = differences(&body, &new).join(" ");
    for word in ["HostConfig.Privileged", "HostConfig.CapAdd", "Config.Cmd"] {
        assert!(found.contains(word), "{found}");
    }
}

proptest::proptest! {
    /// Whatever a node answers, there is no panic, and what is passed on is in what was read.
    #[test]
    fn any_inspection_is_read_or_refused(binds in proptest::collection::vec("[a-z:/]{0,8}", 0..4), place in "[a-z:/]{0,6}") {
        let (mut old, image) = kubelet();
        old["HostConfig"]["Binds"] = json!(binds);
        old["Mounts"] = json!([{"Type": "volume", "Name": "v", "Destination": place}]);
        if let Ok(next) = successor(&old, &image, &to(), &[]) {
            let kept = next.body["HostConfig"]["Binds"].as_array().cloned().unwrap_or_default();
            for bind in &binds {
                proptest::prop_assert!(kept.contains(&json!(bind)));
            }
        }
    }
}

#[test]
fn zero_seconds_to_stop_are_kept() {
    let (mut old, mut image) = kubelet();
    old["Config"]["StopTimeout"] = json!(0);
    let body = successor(&old, &image, &to(), &[]).unwrap().body;
    assert_eq!(body["StopTimeout"], 0);
    // It is not the default: a container without it is another.
    let mut new = json!({"Config": body.clone(), "HostConfig": body["HostConfig"].clone()});
    new["Config"]["StopTimeout"] = json!(null);
    assert_eq!(differences(&body, &new), ["Config.StopTimeout"]);
    // What the image brought along is its own.
    image["Config"]["StopTimeout"] = json!(0);
    assert!(successor(&old, &image, &to(), &[]).unwrap().body.get("StopTimeout").is_none());
    old["HostConfig"]["MemorySwappiness"] = json!(0);
    let body = successor(&old, &image, &to(), &[]).unwrap().body;
    let new = json!({"Config": body.clone(), "HostConfig": {}});
    assert!(differences(&body, &new).iter().any(|d| d.starts_with("HostConfig.MemorySwappiness")));
}

#[test]
fn a_host_name_that_the_id_happens_to_begin_with_is_kept() {
    let (mut old, image) = kubelet();
    old["HostConfig"]["UTSMode"] = json!("");
    old["HostConfig"]["NetworkMode"] = json!("bridge");
    old["Config"]["Domainname"] = json!("example.com");
    for (name, kept) in
        [("0", true), ("01234", true), ("0123456789ab", false), ("0123456789abcdef", true), ("etcd1", true)]
    {
        old["Config"]["Hostname"] = json!(name);
        let body = successor(&old, &image, &to(), &[]).unwrap().body;
        assert_eq!(body.get("Hostname").is_some(), kept, "{name}");
        assert_eq!(body["Domainname"], "example.com", "it was asked for");
    }
}
