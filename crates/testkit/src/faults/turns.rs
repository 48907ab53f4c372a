//! Trials as tests: one cluster at a time, because two would measure the machine.

use tokio::sync::{Mutex, MutexGuard};

use super::{by_name, story};
use crate::program::Program;

static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// To be held by a test as long as its cluster runs.
pub async fn turn() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().await
}

/// Runs a scenario when it is its turn. Panics with the report if that is not good.
pub async fn survives(name: &str, seed: u64) {
    survives_as(name, seed, Program::this(&[])).await;
}

/// The same with clients in processes of their own, which run this program.
pub async fn survives_as(name: &str, seed: u64, program: Program) {
    let _turn = turn().await;
    // Said first, so that it stands above a panic, too.
    eprintln!("repeat: cargo xtask faults --only {name} --seed {seed}");
    let _kept = story::Kept::begin();
    let report = by_name(name).run_as(seed, program).await;
    assert!(report.is_good(), "{report}");
}
