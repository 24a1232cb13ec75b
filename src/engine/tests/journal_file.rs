//! A journal that is deleted, cut or changed under the engine, or while there is none.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_journal_that_is_deleted_stops_the_run_and_is_never_begun_anew() {
    let lab = Lab::of_nodes();
    let engine = lab.engine();
    let run = lab.until("a commit, and one in flight", |r| r.count(|s| s == SwapState::Committed) > 0).await;
    assert!(run.ended().is_none());
    std::fs::remove_file(lab.run.journal()).unwrap();
    let error = timeout(Duration::from_secs(3_600), engine).await.expect("the engine ends").unwrap().unwrap_err();
    assert!(error.to_string().contains("deleted"), "{error}");
    // Nothing new started, and what was in flight has helped itself.
    let begun = lab.begun();
    sleep(Duration::from_secs(120)).await;
    assert_eq!(lab.begun(), begun);
    for name in begun.keys() {
        let boxes = lab.world.boxes(name.as_str());
        assert!(boxes.iter().all(|(name, _, running)| *running && !name.contains("-prev")), "{name}: {boxes:?}");
    }
    let error = ended_badly(lab.engine()).await;
    assert!(error.contains("journal is gone") && !lab.run.journal().exists(), "{error}");
    assert_eq!(lab.begun(), begun);
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_lost_its_last_lines_is_not_taken_up() {
    let world = upgraded_masters();
    let plan = plan(&world, &NODES);
    let lab = Lab::new(world, &plan);
    let engine = lab.engine();
    lab.until("commits", |r| r.count(|s| s == SwapState::Committed) > 2).await;
    engine.abort();
    let _ = engine.await;
    let whole = std::fs::read_to_string(lab.run.journal()).unwrap();
    let head = lab.run.sealed_head().unwrap().unwrap();
    // Whatever the engine acted on is sealed: the last commit's record is not behind the head.
    let verdict =
        whole.lines().enumerate().filter(|(_, line)| line.contains("\"swap-verdict\"")).last().unwrap().0 as u64 + 1;
    assert!(head.seq >= verdict, "{} < {verdict}", head.seq);
    assert_eq!(head.hash, crate::journal::sha256_hex(whole.lines().nth(head.seq as usize - 1).unwrap().as_bytes()));
    let begun = lab.begun();
    for kept in [0, 1, head.seq as usize - 1] {
        let cut: String = whole.split_inclusive('\n').take(kept).collect();
        std::fs::write(lab.run.journal(), &cut).unwrap();
        let error = ended_badly(lab.engine()).await;
        assert!(error.contains(&format!("ends with record {kept}")), "{error}");
        assert_eq!(std::fs::read_to_string(lab.run.journal()).unwrap(), cut);
    }
    assert_eq!(lab.begun(), begun, "nothing was begun on what is left of it");
    std::fs::write(lab.run.journal(), &whole).unwrap();
    assert_eq!(ended(lab.engine()).await, Outcome::Completed);
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_was_shortened_with_its_head_is_known_by_the_run_lock() {
    let world = upgraded_masters();
    let plan = plan(&world, &NODES);
    let lab = Lab::new(world, &plan);
    let engine = lab.engine();
    lab.until("commits", |r| r.count(|s| s == SwapState::Committed) > 2).await;
    // A renewal later.
    sleep(Duration::from_secs(20)).await;
    engine.abort();
    let _ = engine.await;
    let (journal, head) = (lab.run.journal(), lab.run.journal().with_extension("head"));
    let (whole, sealed) = (std::fs::read_to_string(&journal).unwrap(), std::fs::read(&head).unwrap());
    let told = lab.world.lock().sealed.clone().expect("the run lock remembers the journal");
    let cut: String = whole.split_inclusive('\n').take(told.head.seq as usize - 1).collect();
    std::fs::write(&journal, &cut).unwrap();
    std::fs::remove_file(&head).unwrap();
    let begun = lab.begun();
    // Where the API comes back only later, the engine has written a record in the place of one that is missing.
    for (away, found) in [(false, "its last lines are gone"), (true, "is another one than was written")] {
        lab.world.lock().api_away = away;
        let engine = lab.engine();
        sleep(Duration::from_secs(30)).await;
        lab.world.lock().api_away = false;
        let error = ended_badly(engine).await;
        assert!(error.contains(found) && error.contains("as the run lock"), "{error}");
        assert_eq!(lab.begun(), begun, "nothing was begun on what is left of it");
        std::fs::write(&journal, &cut).unwrap();
        std::fs::remove_file(&head).unwrap_or_default();
    }
    std::fs::write(&journal, &whole).unwrap();
    std::fs::write(&head, &sealed).unwrap();
    assert_eq!(ended(lab.engine()).await, Outcome::Completed);
}
