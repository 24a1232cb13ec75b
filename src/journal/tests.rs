//! The journal's file: written, cut, changed and followed.

use super::*;
use jiff::Timestamp;
use proptest::prelude::*;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const PLAN: &str = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8";

fn note(text: &str) -> Event {
    Event::Note { text: text.to_owned() }
}

fn written(path: &Path, texts: &[String]) -> Vec<Record> {
    let mut writer = Writer::create(path, PLAN).unwrap();
    texts.iter().map(|t| writer.append(Timestamp::UNIX_EPOCH, note(t), false).unwrap()).collect()
}

fn texts(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("note {i} \"quoted\" \n")).collect()
}

#[test]
fn what_is_written_reads_back_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    let mut records = written(&path, &texts(3));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let mut seen = Vec::new();
    let mut opened = Writer::open(&path, PLAN, |r| seen.push(r)).unwrap();
    assert!(!opened.cut);
    assert_eq!(seen, records);
    records.push(opened.writer.append(Timestamp::UNIX_EPOCH, note("more"), true).unwrap());
    let journal = read_for(&path, PLAN).unwrap();
    assert_eq!((journal.chain, journal.torn), (Chain::Ok, false));
    assert_eq!(journal.records, records);
    assert_eq!(records[3].seq, 4);
    let lines = std::fs::read_to_string(&path).unwrap();
    assert_eq!(records[3].prev, sha256_hex(lines.lines().nth(2).unwrap().as_bytes()));
}

#[test]
fn a_journal_of_another_plan_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    written(&path, &texts(2));
    assert_eq!(read_for(&path, "00").unwrap().chain, Chain::Broken { line: 1 });
    assert!(matches!(Writer::open(&path, "00", drop), Err(JournalError::Broken { line: 1, .. })));
}

#[test]
fn a_second_journal_never_replaces_the_first_and_links_are_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    written(&path, &texts(1));
    assert!(Writer::create(&path, PLAN).is_err());
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(read(&link).is_err());
    assert!(Writer::open(&link, PLAN, drop).is_err());
}

/// A journal whose last of `count` records is sealed, and the bytes of it.
fn sealed(path: &Path, count: usize) -> Vec<u8> {
    written(path, &texts(count - 1));
    let mut writer = Writer::open(path, PLAN, drop).unwrap().writer;
    writer.append(Timestamp::UNIX_EPOCH, note("binding"), true).unwrap();
    assert_eq!(Head::of(path).unwrap(), Some(writer.last()));
    assert_eq!(writer.last().seq, count as u64);
    std::fs::read(path).unwrap()
}

/// What every reader of a journal says of it.
fn refusals(path: &Path) -> Vec<String> {
    let mut follower = Follower::open(path);
    while follower.try_next().is_some() {}
    let followed = follower.failed().unwrap_or("followed").to_owned();
    let said = |error: JournalError| error.to_string();
    let opened = Writer::open(path, PLAN, drop).map_or_else(said, |_| "opened".into());
    let found = read(path).map_or_else(said, |_| "read".into());
    let found_for = read_for(path, PLAN).map_or_else(said, |_| "read".into());
    vec![found, found_for, followed, opened]
}

#[test]
fn a_journal_that_lost_its_last_lines_is_refused_by_every_reader() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    let whole = sealed(&path, 4);
    let ends: Vec<usize> = whole.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(i, _)| i + 1).collect();
    // Emptied, cut after each line, and within each line.
    let cuts = [0].into_iter().chain(ends[..3].iter().copied()).chain(ends.iter().map(|end| end - 5));
    for cut in cuts {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let last = ends.iter().filter(|end| **end <= cut).count();
        for error in refusals(&path) {
            assert!(error.contains(&format!("ends with record {last}, and record 4 was on disk")), "{cut}: {error}");
            assert!(error.contains("journal.jsonl") && error.contains("make a new plan"), "{error}");
        }
        assert_eq!(std::fs::read(&path).unwrap().len(), cut, "a journal that is refused is left as it is");
    }
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(refusals(&path), ["read", "read", "followed", "opened"]);
}

#[test]
fn another_last_record_than_was_sealed_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    let whole = String::from_utf8(sealed(&path, 3)).unwrap();
    std::fs::write(&path, whole.replace("binding", "bending")).unwrap();
    for error in refusals(&path) {
        assert!(error.contains("record 3 is another one than was written"), "{error}");
    }
}

#[test]
fn a_head_that_is_behind_refuses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    sealed(&path, 3);
    // The engine died between the journal's sync and the head, or wrote progress that nobody acted on.
    let head = std::fs::read(dir.path().join("journal.head")).unwrap();
    let mut writer = Writer::open(&path, PLAN, drop).unwrap().writer;
    for text in texts(3) {
        writer.append(Timestamp::UNIX_EPOCH, note(&text), false).unwrap();
    }
    let bytes = std::fs::read(&path).unwrap();
    let lines: Vec<&[u8]> = bytes.split_inclusive(|b| *b == b'\n').collect();
    for kept in 3..=6 {
        std::fs::write(&path, lines[..kept].concat()).unwrap();
        std::fs::write(dir.path().join("journal.head"), &head).unwrap();
        assert_eq!(refusals(&path), ["read", "read", "followed", "opened"], "{kept}");
        assert_eq!(Head::of(&path).unwrap().unwrap().seq, kept as u64, "who goes on seals what he found");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_torn_last_line_is_cut_off_and_nothing_else(cut in 1usize..80, count in 1usize..6) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let records = written(&path, &texts(count));
        let bytes = std::fs::read(&path).unwrap();
        let last = bytes[..bytes.len() - 1].iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
        let cut = cut.min(bytes.len() - last - 1);
        std::fs::write(&path, &bytes[..bytes.len() - cut]).unwrap();
        let journal = read_for(&path, PLAN).unwrap();
        prop_assert!(journal.torn);
        prop_assert_eq!(journal.chain, Chain::Ok);
        prop_assert_eq!(&journal.records[..], &records[..count - 1]);
        let mut opened = Writer::open(&path, PLAN, drop).unwrap();
        prop_assert!(opened.cut);
        let next = opened.writer.append(Timestamp::UNIX_EPOCH, note("after"), false).unwrap();
        prop_assert_eq!(next.seq, count as u64);
        let journal = read_for(&path, PLAN).unwrap();
        prop_assert_eq!((journal.chain, journal.torn, journal.records.len()), (Chain::Ok, false, count));
    }

    #[test]
    fn any_byte_that_is_changed_before_the_last_line_is_found(place in any::<prop::sample::Index>(), flip in 1u8..=255) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        written(&path, &texts(5));
        let mut bytes = std::fs::read(&path).unwrap();
        let last = bytes[..bytes.len() - 1].iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
        let at = place.index(last);
        bytes[at] ^= flip;
        std::fs::write(&path, &bytes).unwrap();
        let broken = matches!(read_for(&path, PLAN).unwrap().chain, Chain::Broken { .. });
        prop_assert!(broken);
        prop_assert!(Writer::open(&path, PLAN, drop).is_err());
    }

    #[test]
    fn any_line_that_is_left_out_is_found(place in 0usize..4) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        written(&path, &texts(5));
        let text = std::fs::read_to_string(&path).unwrap();
        let kept: String =
            text.lines().enumerate().filter(|(i, _)| *i != place).map(|(_, l)| format!("{l}\n")).collect();
        std::fs::write(&path, kept).unwrap();
        prop_assert_eq!(read_for(&path, PLAN).unwrap().chain, Chain::Broken { line: place + 1 });
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        std::fs::write(&path, &bytes).unwrap();
        let journal = read_for(&path, PLAN).unwrap();
        prop_assert!(journal.records.is_empty());
        let mut follower = Follower::open(&path);
        prop_assert!(follower.try_next().is_none());
    }
}

/// What may happen to the file under a writer and its followers, and a word of what the error says of it.
type Harm = (fn(&Path), &'static str);

const HARMS: [Harm; 4] = [
    (|path| std::fs::remove_file(path).unwrap(), "deleted"),
    (|path| std::fs::rename(path, path.with_extension("away")).unwrap(), "moved away"),
    (replace, "another file"),
    (|path| std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(10).unwrap(), "cut"),
];

fn replace(path: &Path) {
    let copy = path.with_extension("copy");
    std::fs::copy(path, &copy).unwrap();
    std::fs::rename(&copy, path).unwrap();
}

#[test]
fn a_writer_whose_file_is_gone_or_not_its_own_any_more_writes_nothing() {
    for (harm, word) in HARMS {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let mut writer = Writer::create(&path, PLAN).unwrap();
        writer.append(Timestamp::UNIX_EPOCH, note("before"), true).unwrap();
        harm(&path);
        let error = writer.append(Timestamp::UNIX_EPOCH, note("after"), true).unwrap_err().to_string();
        assert!(error.contains(word), "{word}: {error}");
        assert!(writer.open_still().is_err(), "{word}: it stays closed");
    }
    // Somebody else wrote into it: what follows would not follow.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    let mut writer = Writer::create(&path, PLAN).unwrap();
    std::fs::write(&path, "a line of somebody else's\n").unwrap();
    assert!(writer.append(Timestamp::UNIX_EPOCH, note("after"), true).is_err());
}

#[tokio::test]
async fn a_follower_whose_file_is_gone_or_another_ends_after_what_it_has() {
    for (harm, word) in HARMS {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        written(&path, &texts(2));
        let mut follower = Follower::open(&path);
        assert_eq!(follower.next().await.unwrap().seq, 1);
        harm(&path);
        assert_eq!(follower.next().await.unwrap().seq, 2, "{word}");
        let end = tokio::time::timeout(std::time::Duration::from_secs(10), follower.next()).await;
        assert_eq!(end.expect(word), None);
    }
}

#[tokio::test]
async fn a_follower_sees_every_record_once_and_stops_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    let mut follower = Follower::open(&path);
    assert!(follower.try_next().is_none(), "the file does not exist yet");
    let mut writer = Writer::create(&path, PLAN).unwrap();
    let mut sent = Vec::new();
    for i in 0..20 {
        sent.push(writer.append(Timestamp::UNIX_EPOCH, note(&i.to_string()), false).unwrap());
        if i % 3 == 0 {
            assert_eq!(follower.next().await.as_ref(), sent.get(i / 3));
        }
    }
    let end = Event::RunEnded { outcome: Outcome::Completed, why: String::new() };
    sent.push(writer.append(Timestamp::UNIX_EPOCH, end, true).unwrap());
    let mut rest = Vec::new();
    while let Some(record) = follower.next().await {
        rest.push(record);
    }
    assert_eq!(rest, sent[7..]);
    assert_eq!(follower.chain(), Chain::Ok);
}

#[tokio::test]
async fn a_follower_outlives_a_torn_line_that_is_cut_and_written_anew() {
    use std::io::Write;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    written(&path, &texts(1));
    let mut follower = Follower::open(&path);
    assert_eq!(follower.next().await.unwrap().seq, 1);
    std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"seq\":2,\"at\":\"tor").unwrap();
    assert!(follower.try_next().is_none());
    let mut opened = Writer::open(&path, PLAN, drop).unwrap();
    assert!(opened.cut);
    opened.writer.append(Timestamp::UNIX_EPOCH, note("x"), false).unwrap();
    assert_eq!(follower.next().await.unwrap().seq, 2);
    assert_eq!(follower.chain(), Chain::Ok);
}

#[test]
fn percentiles_are_by_nearest_rank() {
    let plan = crate::plan::Plan {
        format: crate::plan::FORMAT,
        created: Timestamp::UNIX_EPOCH,
        release: None,
        rollback_of: None,
        excluded: Vec::new(),
        asked: None,
        seal: None,
        bumps: Vec::new(),
        limits: crate::plan::Limits::default(),
        budget: crate::plan::Budget::default(),
        components: Default::default(),
        findings: Vec::new(),
        notes: Vec::new(),
        coverage: None,
        comparison: None,
        fingerprint: Default::default(),
        estimate: Default::default(),
        phases: Vec::new(),
        cluster: crate::fleet::Cluster {
            name: "c1".parse().unwrap(),
            nodes: Default::default(),
            leaders: Default::default(),
            salt: None,
        },
    };
    let mut run = Run::new(std::sync::Arc::new(plan));
    run.downtimes.insert(crate::fleet::Component::Kubelet, (1..=200).rev().collect());
    let report = report(&run, Chain::Broken { line: 7 });
    let down = report.downtime_ms[&crate::fleet::Component::Kubelet];
    assert_eq!((down.p50, down.p99, down.max, down.count), (100, 198, 200, 200));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["journal"]["chain"], "broken");
    assert_eq!(json["downtime_ms"]["kubelet"]["p99"], 198);
    assert_eq!(json["outcome"], "running");
    assert!(report.to_markdown().contains("chain broken at line 7"));
}
