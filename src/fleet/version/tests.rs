use super::*;
use proptest::prelude::*;
use std::cmp::Ordering;

fn v(text: &str) -> Version {
    text.parse().unwrap_or_else(|e| panic!("{e}"))
}

/// Each is older than the one after it.
fn ascending(texts: &[&str]) {
    for (i, old) in texts.iter().enumerate() {
        for new in &texts[i + 1..] {
            assert!(v(old) < v(new), "{old} < {new}");
        }
    }
}

#[test]
fn orders_builds_and_pre_releases() {
    ascending(&[
        "1.9.0",
        "1.36.0-alpha.0",
        "1.36.0-alpha.1",
        "1.36.0-alpha.1.421+a6bea3d79b8bba",
        "1.36.0-alpha.10",
        "1.36.0-beta.0",
        "1.36.0-rc.1",
        "1.36.0-rc.2",
        "1.36.0-rc.2-amd64",
        "1.36.0",
        "1.36.0-amd64",
        "1.36.2-rc.0",
        "1.36.2",
        "1.36.2-0",
        "1.36.2.1",
        "1.36.2.10",
        "1.36.2-rancher1",
    ]);
    assert_eq!(v("v1.36.2"), v("1.36.2"));
    assert_eq!(v("v1.36.2").as_str(), "v1.36.2");
    assert!(v("1.36.2.1").same_upstream(&v("v1.36.2")));
}

/// Tags as distributions publish them: of a release, none of a pre-release.
#[test]
fn a_suffix_that_begins_with_a_letter_is_a_build() {
    let published = [
        "v1.36.2-rancher1",
        "v1.36.2-rancher1-1",
        "v1.36.2-k3s1",
        "v1.36.2+k3s1",
        "v1.36.2-rke2r1",
        "v1.36.2-rke2r1-build20260910",
        "1.36.2-debian-12-r4",
        "v1.36.2-eks-1-36-2",
        "v1.36.2-eks-036c24b",
        "v1.36.2-gke.1329003",
        "v1.36.2_vmware.1-fips.1-tkg.5",
        "v1.36.2-hotfix.20260901",
        "v1.36.2-amd64",
        "v1.36.2-arm64",
        "v1.36.2-distroless",
        "v1.36.2-alpine",
        "v1.36.2-alpine3.22",
        "v1.36.2-slim",
        "v1.36.2-fips",
        "v1.36.2-alphabet",
        "v1.36.2-rcs1",
        "v1.36.2-dirty",
        "v1.36.2-windows-amd64-ltsc2022",
    ];
    for tag in published {
        assert!(v("1.36.2-rc.9") < v(tag), "{tag} is no pre-release");
        assert!(v("1.36.2") < v(tag), "{tag} is a build of the release");
        assert!(v(tag) < v("1.36.3-alpha.0"), "{tag} is older than the next patch");
        // The program says `v1.36.2`, or its own build: it does not know how the image was tagged.
        assert!(v(tag).same_upstream(&v("v1.36.2")), "{tag}");
        assert!(v("v1.36.2+a6bea3d").same_upstream(&v(tag)), "{tag}");
        assert!(!v(tag).same_upstream(&v("v1.36.1")) && !v(tag).same_upstream(&v("v1.36.2-rc.1")), "{tag}");
    }
}

#[test]
fn alpha_beta_and_rc_are_pre_releases_however_they_are_written() {
    let published = [
        "v1.36.2-alpha.0",
        "v1.36.2-alpha.3",
        "v1.36.2-alpha",
        "v1.36.2-beta.0",
        "v1.36.2-beta1",
        "v1.36.2-rc.0",
        "v1.36.2-rc.1",
        "v1.36.2-rc1",
        "v1.36.2-rc",
        "v1.36.2-rc1-k3s1",
        "v1.36.2-rc1+k3s1",
        "v1.36.2-rc.1-amd64",
        "v1.36.2-alpha.1.421+a6bea3d79b8bba",
        "v1.36.2-alpha.1.421_a6bea3d79b8bba",
    ];
    for tag in published {
        assert!(v("1.36.1") < v(tag) && v(tag) < v("1.36.2"), "{tag}");
        assert!(!v(tag).same_upstream(&v("v1.36.2")), "the program knows that it is {tag}");
    }
    assert_eq!(v("1.36.0-rc1"), v("1.36.0-rc.1"));
    // What the program says of itself.
    let said = ["v1.36.0-rc1-k3s1", "1.36.0-alpha", "v1.36.2.1", "1.36.2-rancher1"].map(|tag| v(tag).release());
    assert_eq!(said, ["1.36.0-rc.1", "1.36.0-alpha", "1.36.2", "1.36.2"]);
    assert!(v("1.36.0-rc1-k3s1").same_upstream(&v("v1.36.0-rc1+k3s2")));
    assert!(v("3.6.0-rc.5").same_upstream(&v("3.6.0-rc.5")));
    // Once the build begins, nothing of it is a pre-release.
    assert!(v("1.36.2") < v("1.36.2+rc1"));
}

#[test]
fn builds_are_in_natural_order() {
    ascending(&["1.36.2-rancher1", "1.36.2-rancher1-1", "1.36.2-rancher2", "1.36.2-rancher9", "1.36.2-rancher10"]);
    ascending(&["1.36.2-debian-12-r4", "1.36.2-debian-12-r9", "1.36.2-debian-12-r10", "1.36.2-debian-13-r0"]);
    ascending(&[
        "1.36.2-gke.99",
        "1.36.2-gke.1329003",
        "1.36.2-gke.99999999999999999999999",
        "1.36.2-gke.100000000000000000000000",
    ]);
    ascending(&["1.36.2+k3s1", "1.36.2+k3s2", "1.36.2+k3s10"]);
    ascending(&["1.36.2-eks-1-36-2", "1.36.2-eks-1-36-10"]);
    ascending(&["1.36.2-rke2r1", "1.36.2-rke2r2", "1.36.2-rke2r10"]);
    assert_eq!(v("1.36.2-k3s1"), v("1.36.2+k3s1"), "an image's tag can have no +");
    let precedes = |old: &str, new: &str| v(old).precedes(&v(new));
    assert!(precedes("1.36.2-rancher9", "1.36.2-rancher10") && precedes("1.36.2.1", "1.36.2.2"));
    assert!(precedes("1.36.2", "1.36.2.1") && precedes("1.36.2-rancher1", "1.36.3-amd64"));
    assert!(precedes("1.36.2-rc.1", "1.36.2") && !precedes("1.36.2", "1.36.2"));
    for [one, other] in [["1.36.2", "1.36.2-rancher1"], ["1.36.2-debian-12-r4", "1.36.2-rancher1"]] {
        assert!(!precedes(one, other) && !precedes(other, one), "builds of two kinds: {one}, {other}");
    }
}

#[test]
fn refuses_nonsense_with_a_reason() {
    for bad in
        ["", "latest", "1", "1.2", "1..2", "1.2.x", "1.2.3.x", "1.2.99999999999", "1.2.3 ", "1.2.3\u{1b}", "vv1.2.3"]
    {
        assert!(bad.parse::<Version>().is_err(), "{bad:?}");
    }
}

/// Few different parts, so that equal and nearly equal ones are frequent.
fn version() -> impl Strategy<Value = Version> {
    let text = "v?1\\.3[56]\\.[02](\\.(1|10))?([-+_](alpha|beta|rc|rancher|r|k3s|debian|a)[.-]?(0|01|1|9|10)?([-._](1|r4|r10|amd64)){0,2})?";
    text.prop_map(|text| text.parse().unwrap())
}

proptest! {
    #[test]
    fn any_text_parses_or_is_refused_but_never_panics(text in "\\PC*") {
        let _ = text.parse::<Version>();
    }

    #[test]
    fn what_parses_keeps_its_text(text in "v?[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}(\\.[0-9]{1,2})?(-[a-z0-9.]{1,8})?") {
        let version = v(&text);
        prop_assert_eq!(version.as_str(), &text);
    }

    #[test]
    fn the_order_is_total(a in version(), b in version(), c in version()) {
        prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse(), "antisymmetric");
        prop_assert_eq!(a == b, a.cmp(&b) == Ordering::Equal);
        if a <= b && b <= c {
            prop_assert!(a <= c, "transitive: {} {} {}", a, b, c);
        }
        if a == b {
            prop_assert_eq!(a.cmp(&c), b.cmp(&c));
        }
    }

    #[test]
    fn a_build_is_newer_than_its_release_and_older_than_the_next(build in "[-+_][a-z]{0,8}[0-9]{0,3}([-.][a-z0-9]{1,4}){0,2}") {
        let tag = format!("1.36.2{build}");
        if !["alpha", "beta", "rc"].iter().any(|pre| build.contains(pre)) {
            prop_assert!(v("1.36.2") <= v(&tag) && v(&tag) < v("1.36.3-alpha.0"), "{}", tag);
            prop_assert!(v(&tag).same_upstream(&v("1.36.2")));
        }
    }
}
