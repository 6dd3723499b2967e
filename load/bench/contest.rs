//! Our server on both databases, the bare server, and a service with one statement, in turns.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyhow::Context as _;

use super::arm::{Arm, Subject};
use super::report::{Report, say};
use super::rival::Rival;
use super::scene::{Reach, Scene, Setting};
use super::table::grouped;
use crate::args::{BenchArgs, Section};
use crate::postgres::Cluster;
use crate::requests::Requests;
use crate::server::Server;

/// What share of the bare server's rate is wanted over many tenants, in percent.
const MANY_OF_BARE: u64 = 65;
/// The same for a single tenant.
const ONE_OF_BARE: u64 = 70;
/// How much more a single tenant is wanted to get than from the service with one statement.
const ONE_OF_STATEMENT: u64 = 800;
/// How much longer than the bare server's the slowest percent may take.
const P99_OF_BARE: u64 = 200;
/// How long the slowest percent may take at half of the maximum.
const HALF_P99: std::time::Duration = std::time::Duration::from_millis(5);

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bare,
    Sqlite(Reach),
    Postgres(Reach),
    Statement(Reach),
}

/// Everybody who is measured.
pub(super) struct Contest {
    arms: Vec<(Kind, Arm)>,
    sqlite: Option<Scene>,
    postgres: Option<Scene>,
    rival: Option<Rival>,
    bare: Option<Server>,
    cluster: Option<Cluster>,
}

impl Contest {
    /// Starts everybody. Who cannot be started is missing, and the others are measured.
    pub(super) fn set(args: &BenchArgs, report: &mut Report) -> anyhow::Result<Self> {
        let mut contest = Self {
            arms: Vec::new(),
            sqlite: None,
            postgres: None,
            rival: None,
            bare: None,
            cluster: None,
        };
        let [sqlite, postgres, statement, events, start] = [
            Section::Sqlite,
            Section::Postgres,
            Section::Statement,
            Section::Events,
            Section::Start,
        ]
        .map(|section| args.has(section));
        if sqlite || postgres || statement {
            contest.add_bare(args)?;
        }
        if sqlite || events || start {
            let mut scene = Scene::set(&Setting::of(&args.common))?;
            scene.wake(args.common.connections)?;
            if sqlite {
                contest.add_scene(args, "SQLite", Kind::Sqlite, &scene)?;
            }
            contest.sqlite = Some(scene);
        }
        if postgres || statement {
            let started = Cluster::start(args.common.scratch.as_deref());
            if let Some(cluster) = report.keep("PostgreSQL", started) {
                if postgres {
                    let added = contest.add_postgres(args, &cluster);
                    report.keep("our server on PostgreSQL", added);
                }
                if statement {
                    let added = contest.add_rival(args, &cluster);
                    report.keep("the service with one statement", added);
                }
                contest.cluster = Some(cluster);
            }
        }
        Ok(contest)
    }

    fn add_bare(&mut self, args: &BenchArgs) -> anyhow::Result<()> {
        let server = Server::own(&["bare"])?;
        let subject = subject_of(&server, None);
        let keys = made_up_keys(args.common.tenants);
        let requests = Requests::consume(&keys, &Arc::new(AtomicU64::new(0)));
        let arm =
            Arm::new("bare hyper server", subject, &Arc::new(requests), args.common.connections);
        self.arms.push((Kind::Bare, arm));
        self.bare = Some(server);
        Ok(())
    }

    fn add_scene(
        &mut self,
        args: &BenchArgs,
        database: &str,
        kind: fn(Reach) -> Kind,
        scene: &Scene,
    ) -> anyhow::Result<()> {
        for reach in [Reach::Many, Reach::One] {
            let name = format!("{database}, {}", reach_name(args, reach));
            let arm = scene.arm(&name, reach, args.common.connections)?;
            self.arms.push((kind(reach), arm));
        }
        Ok(())
    }

    fn add_postgres(&mut self, args: &BenchArgs, cluster: &Cluster) -> anyhow::Result<()> {
        let database = Some((cluster.create("tenantry")?, cluster.pid()));
        let mut scene = Scene::set(&Setting { database, ..Setting::of(&args.common) })?;
        scene.wake(args.common.connections)?;
        self.add_scene(args, "PostgreSQL", Kind::Postgres, &scene)?;
        self.postgres = Some(scene);
        Ok(())
    }

    fn add_rival(&mut self, args: &BenchArgs, cluster: &Cluster) -> anyhow::Result<()> {
        let keys = made_up_keys(args.common.tenants + 1);
        let mut rival = Rival::set(cluster, &keys)?;
        for reach in [Reach::Many, Reach::One] {
            let name = format!("one statement, {}", reach_name(args, reach));
            let arm = rival.arm(&name, reach, args.common.connections)?;
            self.arms.push((Kind::Statement(reach), arm));
        }
        self.rival = Some(rival);
        Ok(())
    }

    /// Measures everybody in turns, and checks what was counted.
    pub(super) fn run(&mut self, args: &BenchArgs, report: &mut Report) -> anyhow::Result<()> {
        for round in 0..args.rounds.max(1) {
            // Each round goes the other way, so that nobody always runs after the same neighbour.
            let mut order: Vec<_> = self.arms.iter_mut().collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for (_, arm) in order {
                arm.run_round(args.round()).with_context(|| format!("measure {}", arm.name()))?;
                say(&format!("round {}: {}", round + 1, arm.last_round()))?;
            }
        }
        let halves = self.run_halves(args)?;
        let bare_per_s = self.arm(Kind::Bare).map(Arm::per_s);
        for (_, arm) in &self.arms {
            report.add(arm.row(bare_per_s));
        }
        for (_, half) in &halves {
            report.add(half.row(None));
        }
        self.judge(&halves, report);
        self.check(&halves)
    }

    fn run_halves(&self, args: &BenchArgs) -> anyhow::Result<Vec<(Kind, Arm)>> {
        let mut halves = Vec::new();
        for (kind, arm) in &self.arms {
            let is_wanted = match kind {
                Kind::Sqlite(Reach::Many) | Kind::Postgres(Reach::Many) => args.has(Section::Half),
                Kind::Sqlite(Reach::One) | Kind::Postgres(Reach::One) => args.has(Section::HalfOne),
                Kind::Bare | Kind::Statement(_) => false,
            };
            if is_wanted {
                let mut half = arm.renamed(&format!("{}, half of that", arm.name()));
                half.run_at(arm.per_s() / 2, args.whole())?;
                say(&half.last_round())?;
                halves.push((*kind, half));
            }
        }
        Ok(halves)
    }

    fn arm(&self, wanted: Kind) -> Option<&Arm> {
        self.arms.iter().find_map(|(kind, arm)| (*kind == wanted).then_some(arm))
    }

    fn judge(&self, halves: &[(Kind, Arm)], report: &mut Report) {
        let Some(bare) = self.arm(Kind::Bare) else { return };
        let kinds: [fn(Reach) -> Kind; 2] = [Kind::Sqlite, Kind::Postgres];
        for kind in kinds {
            if let Some(many) = self.arm(kind(Reach::Many)) {
                report.aim_at_share(many, bare, MANY_OF_BARE);
                report.aim_at_p99_within(many, bare, P99_OF_BARE);
            }
            let Some(one) = self.arm(kind(Reach::One)) else { continue };
            report.aim_at_share(one, bare, ONE_OF_BARE);
            if let Some(statement) = self.arm(Kind::Statement(Reach::One)) {
                report.aim_at_share(one, statement, ONE_OF_STATEMENT);
            }
        }
        for (_, half) in halves {
            let what = format!("{}: p99", half.name());
            report.aim_below(&what, half.latency(990_000), HALF_P99, half.doubts().is_empty());
        }
    }

    fn check(&mut self, halves: &[(Kind, Arm)]) -> anyhow::Result<()> {
        for (kind, arm) in self.arms.iter().chain(halves) {
            match kind {
                Kind::Bare => arm.tally().refuse_refusals(arm.name())?,
                Kind::Statement(_) => {
                    let rival = self.rival.as_mut().context("a service has gone")?;
                    rival.acknowledge(arm)?;
                }
                Kind::Sqlite(reach) => {
                    self.sqlite.as_mut().context("a server has gone")?.acknowledge(*reach, arm)?;
                }
                Kind::Postgres(reach) => {
                    self.postgres
                        .as_mut()
                        .context("a server has gone")?
                        .acknowledge(*reach, arm)?;
                }
            }
        }
        for (name, scene) in [("SQLite", &self.sqlite), ("PostgreSQL", &self.postgres)] {
            if let Some(scene) = scene {
                scene.check(name)?;
            }
        }
        self.rival.as_ref().map_or(Ok(()), Rival::check)
    }

    /// Ends everybody but our server on SQLite.
    pub(super) fn into_sqlite(self) -> Option<Scene> {
        let Self { arms: _, sqlite, postgres, rival, bare, cluster } = self;
        drop((postgres, rival, bare));
        // Ends after those that use it.
        drop(cluster);
        sqlite
    }
}

/// What load is sent to when it is a server of the comparison's own.
pub(super) fn subject_of(server: &Server, database: Option<u32>) -> Subject {
    Subject { address: server.address, ops: None, pid: server.pid(), database }
}

fn reach_name(args: &BenchArgs, reach: Reach) -> String {
    match reach {
        Reach::Many => format!("{} tenants", grouped(args.common.tenants.into())),
        Reach::One => "1 tenant".to_owned(),
    }
}

/// Keys as long as our server's, for those who are sent the same requests and do not know it.
fn made_up_keys(count: u32) -> Vec<String> {
    (0..count).map(|number| format!("tk_live_{number:026}_{number:052}_{number:07}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_keys_are_as_long_as_real_ones() {
        let real = "tk_live_01m83e2em7fhn82gk0ez6vtnxg_\
                    4ao5zj3ps7q7u2fq2lyaru4n55dej7h4kzn5ovgxje52irrsjfda_6gts3cq";

        let keys = made_up_keys(12);

        assert_eq!(keys.len(), 12);
        assert!(keys.iter().all(|key| key.len() == real.len()));
        assert_ne!(keys[0], keys[11]);
    }
}
