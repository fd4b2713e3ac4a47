//! What a seed says: which migration, and which faults at which of its points.
//!
//! Seven consecutive seeds strike at every point once: five of them go to the end, two turn back. Three consecutive seeds
//! have one cluster on PostgreSQL and two on SQLite.

use std::fmt;
use std::time::Duration;

use super::fault::Fault;
use super::point::Point;
use crate::testbed::Engine;

/// So many seeds strike at every point.
pub(super) const BLOCK: u64 = 7;

/// Which of them turn back.
const TURN_BACK: [u64; 2] = [2, 5];

/// How a migration is turned back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Back {
    /// `rollback`.
    Rollback,
    /// `abort`.
    Abort,
    /// The workflow is cancelled.
    Cancel,
}

/// Faults at one point, all of them at the same time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strike {
    /// Where.
    pub point: Point,
    /// What: one or two.
    pub faults: Vec<Fault>,
    /// How long until it is over.
    pub lasts: Duration,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// The seed that says all of this.
    pub seed: u64,
    /// SQLite or PostgreSQL.
    pub engine: Engine,
    /// Where and how it turns back; to the end otherwise.
    pub back: Option<(Point, Back)>,
    /// The strikes, in the order of their points.
    pub strikes: Vec<Strike>,
    /// Whether the source's definition stays in the files.
    pub keep_source: bool,
    /// Whether the target does without its indexes while it is filled.
    pub defer_indexes: bool,
}

impl Schedule {
    /// What `seed` says.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let engine = engine(seed);
        let turn = seed % BLOCK;
        let points = points(seed / BLOCK, turn);
        let mut random = fastrand::Rng::with_seed(seed.wrapping_add(1));
        let back = TURN_BACK.contains(&turn).then(|| {
            let way = [Back::Rollback, Back::Abort, Back::Cancel][random.usize(..3)];
            // Reads have moved wherever it is to be struck while they return.
            let from = if points.contains(&Point::BackReads) {
                [Point::Soaking, Point::GatePromote][random.usize(..2)]
            } else {
                [Point::HostsDual, Point::Copying, Point::GateCutover, Point::Soaking][random.usize(..4)]
            };
            (from, way)
        });
        let possible: &[Fault] = if engine == Engine::Sqlite {
            &Fault::ON_SQLITE
        } else {
            &Fault::ON_POSTGRES
        };
        let mut next = random.usize(..possible.len());
        let mut draw = || {
            // Neighbours in the list differ, and over some runs each comes as often as the others.
            next = (next + 3) % possible.len();
            possible[next]
        };
        let mut strikes: Vec<Strike> = points
            .into_iter()
            .filter(|point| point.is_back() || back.is_none_or(|(from, _)| *point <= from))
            .map(|point| Strike {
                point,
                faults: vec![draw()],
                lasts: Duration::ZERO,
            })
            .collect();
        for strike in &mut strikes {
            if random.u8(..4) == 0 {
                let second = draw();
                if !strike.faults[0].collides_with(second) {
                    strike.faults.push(second);
                }
            }
            let millis = [300, 1_000, 3_000, 3_000, 7_000, 7_000, 12_000, 24_000][random.usize(..8)];
            strike.lasts = Duration::from_millis(millis);
        }
        Self {
            seed,
            engine,
            back,
            strikes,
            keep_source: random.bool(),
            defer_indexes: random.bool(),
        }
    }

    /// How many faults there are in it.
    #[must_use]
    pub fn faults(&self) -> usize {
        self.strikes.iter().map(|strike| strike.faults.len()).sum()
    }
}

fn engine(seed: u64) -> Engine {
    if seed % 3 == 1 {
        Engine::Postgres
    } else {
        Engine::Sqlite
    }
}

/// The points of the run `turn` of a block, in order. The early ones are dealt anew in each block.
fn points(block: u64, turn: u64) -> Vec<Point> {
    let mut random = fastrand::Rng::with_seed(block.wrapping_mul(0x9E37_79B9).wrapping_add(7));
    let mut early = Point::EARLY.to_vec();
    random.shuffle(&mut early);
    let position = TURN_BACK.iter().position(|back| *back == turn);
    let mut points: Vec<Point> = match position {
        Some(position) => {
            // Points before the place where it turns back: the first ones that come, whatever else.
            let mut before: Vec<Point> = early[..4].to_vec();
            before.sort_unstable();
            let back = Point::BACK.iter().enumerate();
            before
                .into_iter()
                .skip(position * 2)
                .take(2)
                .chain(back.filter(|(index, _)| index % 2 == position).map(|(_, point)| *point))
                .collect()
        }
        None => {
            let forward = (0..BLOCK).filter(|turn| !TURN_BACK.contains(turn));
            let place = forward.take_while(|other| *other != turn).count();
            let dealt = early[4..].iter().chain(&Point::LATE).enumerate();
            dealt
                .filter(|(index, _)| index % 5 == place)
                .map(|(_, point)| *point)
                .collect()
        }
    };
    points.sort_unstable();
    points
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {} on {:?}", self.seed, self.engine)?;
        if let Some((point, back)) = self.back {
            write!(f, ", {back:?} at {point}")?;
        }
        for strike in &self.strikes {
            let faults: Vec<String> = strike.faults.iter().map(ToString::to_string).collect();
            write!(
                f,
                "; {} at {} for {:?}",
                faults.join(" and "),
                strike.point,
                strike.lasts
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_always_says_the_same_and_another_one_something_else() {
        assert_eq!(Schedule::of(41), Schedule::of(41));
        let all: BTreeSet<String> = (0..100).map(|seed| Schedule::of(seed).to_string()).collect();
        assert_eq!(all.len(), 100);
    }

    #[test]
    fn strikes_come_in_the_order_of_their_points_and_none_behind_the_turn() {
        for schedule in (0..200).map(Schedule::of) {
            assert!(schedule.strikes.is_sorted_by_key(|strike| strike.point), "{schedule}");
            assert!(schedule.strikes.len() >= 2, "{schedule}");
            if let Some((from, _)) = schedule.back {
                let ahead = |strike: &&Strike| !strike.point.is_back();
                assert!(
                    schedule.strikes.iter().filter(ahead).all(|s| s.point <= from),
                    "{schedule}"
                );
            } else {
                assert!(
                    !schedule.strikes.iter().any(|strike| strike.point.is_back()),
                    "{schedule}"
                );
            }
        }
    }

    #[test]
    fn a_few_blocks_strike_everywhere_with_everything() {
        let (mut points, mut faults) = (BTreeSet::new(), BTreeSet::new());
        for strike in (0..2 * BLOCK).flat_map(|seed| Schedule::of(seed).strikes) {
            points.insert(strike.point);
        }
        for strike in (0..3 * BLOCK).flat_map(|seed| Schedule::of(seed).strikes) {
            faults.extend(strike.faults);
        }
        let everywhere = [&Point::EARLY[..], &Point::LATE[..], &Point::BACK[..]].concat();
        let missed: Vec<_> = everywhere.iter().filter(|point| !points.contains(point)).collect();
        assert!(missed.is_empty(), "{missed:?}");
        let everything: BTreeSet<Fault> = Fault::ON_SQLITE.into_iter().chain(Fault::ON_POSTGRES).collect();
        assert_eq!(faults, everything);
    }
}
