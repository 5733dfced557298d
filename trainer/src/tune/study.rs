//! Studies and trials as rows in the tables, shared by any number of processes on any machines.
//!
//! A trial that runs is held by a token and a time until which the token counts. Whoever takes the next trial takes first one whose
//! time has run out: its worker is dead, or cut off, and can end it no more, since every word of a worker is a compare-and-swap on
//! its token. So no trial is lost, and none ends twice.

use contract::Timestamp;
use serde::{Deserialize, Serialize};
use store::tables::{Error, Migrations, Row, Tables, Tx};

use super::{Outcome, Parameters, Sampler, Space, prune::Asha, sampler::Past};
use crate::train::batches::dice;

const MIGRATIONS: Migrations = Migrations { set: "tune", steps: &[VERSION_1] };

const VERSION_1: &str = "
CREATE TABLE tune_studies (
    name TEXT PRIMARY KEY,
    rules TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE TABLE tune_trials (
    study TEXT NOT NULL REFERENCES tune_studies (name),
    number BIGINT NOT NULL,
    state TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    token TEXT NOT NULL,
    held_until BIGINT NOT NULL,
    parameters TEXT NOT NULL,
    outcome TEXT,
    why TEXT,
    epochs BIGINT NOT NULL,
    ended BIGINT,
    began_at BIGINT NOT NULL,
    ended_at BIGINT,
    PRIMARY KEY (study, number)
);
CREATE UNIQUE INDEX tune_trials_ended ON tune_trials (study, ended) WHERE ended IS NOT NULL;
CREATE INDEX tune_trials_running ON tune_trials (study, held_until) WHERE state = 'running';
CREATE TABLE tune_steps (
    study TEXT NOT NULL,
    number BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    value DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (study, number, epoch)
);
CREATE INDEX tune_steps_by_epoch ON tune_steps (study, epoch);
";

/// How often a trial is begun whose workers die.
pub const ATTEMPTS: u64 = 3;

/// What a study is: it never changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    /// What is searched.
    pub space: Space,
    /// How the next trial is drawn.
    pub sampler: Sampler,
    /// How trials end early, if they do.
    pub pruner: Option<Asha>,
    /// How many objectives: 1 or 2.
    pub objectives: usize,
    /// Everything drawn by chance derives from it.
    pub seed: u64,
    /// What the trials do, as text: another one is another study.
    pub about: String,
}

/// Where a study ends; the first that is reached counts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Budget {
    /// Trials.
    pub trials: Option<u64>,
    /// Epochs of all trials together.
    pub epochs: Option<u64>,
    /// Not after this moment.
    pub until: Option<Timestamp>,
}

/// A trial that this process holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// Its number, from 0.
    pub number: u64,
    /// What it tries.
    pub parameters: Parameters,
    /// Which attempt this is, from 1.
    pub attempt: u64,
    /// By which it is held.
    pub token: String,
}

/// A trial as the table has it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Record {
    /// Its number, from 0.
    pub number: u64,
    /// `running`, `complete`, `pruned`, `failed`.
    pub state: String,
    /// Attempts so far.
    pub attempt: u64,
    /// What it tries.
    pub parameters: Parameters,
    /// What came out.
    pub outcome: Option<Outcome>,
    /// Why it failed.
    pub why: Option<String>,
    /// Epochs that it made.
    pub epochs: u64,
    /// The last value that it reported.
    pub last: Option<(u64, f64)>,
}

/// A study in the tables.
#[derive(Clone)]
pub struct Study {
    tables: Tables,
    name: String,
    /// What it is.
    pub rules: Rules,
    /// Ended trials that were read already, and the number of the last of them.
    past: Vec<Past>,
    read: u64,
}

/// What the next trial is.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// This one, held until the lease runs out.
    Trial(Trial),
    /// None now: others run the last ones; ask again.
    Wait,
    /// None any more.
    Done,
}

impl Study {
    /// Opens a study, or begins it.
    ///
    /// # Errors
    /// The tables; `Invalid` where a study of this name has other rules.
    pub async fn open(tables: Tables, name: &str, rules: Rules, now: Timestamp) -> Result<Self, Error> {
        tables.migrate(&MIGRATIONS).await?;
        let text = serde_json::to_string(&rules).map_err(unreadable)?;
        let found = tables.write(|tx| {
            let text = &text;
            async move {
                tx.sql("INSERT INTO tune_studies (name, rules, created_at) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING")
                    .bind(name.to_owned())
                    .bind(text.clone())
                    .bind(now.0)
                    .execute()
                    .await?;
                let row = tx.sql("SELECT rules FROM tune_studies WHERE name = $1").bind(name.to_owned()).fetch_one();
                row.await?.get::<String>("rules")
            }
        });
        let found: Rules = serde_json::from_str(&found.await?).map_err(unreadable)?;
        if found != rules {
            let detail = format!(
                "study `{name}` has another {}: use another name, or what it was begun with",
                other(&found, &rules)
            );
            return Err(Error::invalid(detail));
        }
        Ok(Self { tables, name: name.into(), rules, past: Vec::new(), read: 0 })
    }

    /// The next trial, held until `until`.
    ///
    /// # Errors
    /// The tables.
    pub async fn next(&mut self, budget: Budget, token: &str, now: Timestamp, until: Timestamp) -> Result<Next, Error> {
        self.catch_up().await?;
        let this = &*self;
        this.tables.write(|tx| async move { this.take(&tx, budget, token, now, until).await }).await
    }

    async fn take(
        &self,
        tx: &Tx,
        budget: Budget,
        token: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Next, Error> {
        if let Some(trial) = self.take_over(tx, token, now, until).await? {
            return Ok(Next::Trial(trial));
        }
        // Numbers have no holes, so that the greatest one counts the trials.
        let trials =
            self.number(tx, "SELECT COALESCE(max(number) + 1, 0) AS n FROM tune_trials WHERE study = $1").await?;
        let epochs = "SELECT CAST(COALESCE(sum(epochs), 0) AS BIGINT) AS n FROM tune_trials WHERE study = $1";
        let spent = budget.trials.is_some_and(|most| trials >= most)
            || budget.until.is_some_and(|end| now >= end)
            || match budget.epochs {
                Some(most) => self.number(tx, epochs).await? >= most,
                None => false,
            };
        if spent {
            let running = "SELECT count(*) AS n FROM tune_trials WHERE study = $1 AND state = 'running'";
            return Ok(if self.number(tx, running).await? > 0 { Next::Wait } else { Next::Done });
        }
        let mut dice = dice(self.rules.seed, &[7, trials]);
        let parameters = self.rules.sampler.draw(&self.rules.space, &self.past, &mut dice);
        let insert = "INSERT INTO tune_trials \
             (study, number, state, attempt, token, held_until, parameters, epochs, began_at) \
             VALUES ($1, $2, 'running', 1, $3, $4, $5, 0, $6)";
        tx.sql(insert)
            .bind(self.name.clone())
            .bind(trials as i64)
            .bind(token.to_owned())
            .bind(until.0)
            .bind(serde_json::to_string(&parameters).map_err(unreadable)?)
            .bind(now.0)
            .execute()
            .await?;
        Ok(Next::Trial(Trial { number: trials, parameters, attempt: 1, token: token.into() }))
    }

    async fn number(&self, tx: &Tx, sql: &'static str) -> Result<u64, Error> {
        tx.sql(sql).bind(self.name.clone()).fetch_one().await?.unsigned("n")
    }

    /// A trial of a worker that is gone; one that was begun too often has failed.
    async fn take_over(&self, tx: &Tx, token: &str, now: Timestamp, until: Timestamp) -> Result<Option<Trial>, Error> {
        loop {
            let found = tx
                .sql(
                    "SELECT number, attempt, parameters FROM tune_trials \
                     WHERE study = $1 AND state = 'running' AND held_until < $2 ORDER BY number LIMIT 1",
                )
                .bind(self.name.clone())
                .bind(now.0)
                .fetch_optional()
                .await?;
            let Some(row) = found else { return Ok(None) };
            let (number, attempt) = (row.unsigned("number")?, row.unsigned("attempt")?);
            if attempt >= ATTEMPTS {
                let why = format!("its workers died {attempt} times");
                self.end_row(tx, number, "failed", None, Some(&why), now).await?;
                continue;
            }
            tx.sql("DELETE FROM tune_steps WHERE study = $1 AND number = $2")
                .bind(self.name.clone())
                .bind(number as i64)
                .execute()
                .await?;
            let update = "UPDATE tune_trials SET attempt = $3, token = $4, held_until = $5, epochs = 0 \
                 WHERE study = $1 AND number = $2";
            tx.sql(update)
                .bind(self.name.clone())
                .bind(number as i64)
                .bind(attempt as i64 + 1)
                .bind(token.to_owned())
                .bind(until.0)
                .execute()
                .await?;
            let parameters = parsed(&row, "parameters")?;
            return Ok(Some(Trial { number, parameters, attempt: attempt + 1, token: token.into() }));
        }
    }

    /// Holds a trial longer; `false` when it is held by somebody else by now, and must be given up.
    ///
    /// # Errors
    /// The tables.
    pub async fn hold(&self, trial: &Trial, until: Timestamp) -> Result<bool, Error> {
        let update = "UPDATE tune_trials SET held_until = $4 \
             WHERE study = $1 AND number = $2 AND token = $3 AND state = 'running'";
        let held = self.tables.write(|tx| async move {
            let statement = tx.sql(update).bind(self.name.clone()).bind(trial.number as i64);
            statement.bind(trial.token.clone()).bind(until.0).execute().await
        });
        Ok(held.await? == 1)
    }

    /// Notes a value after so many epochs, and gives all values that trials had after as many; `None` when the trial is not held
    /// any more.
    ///
    /// # Errors
    /// The tables.
    pub async fn step(&self, trial: &Trial, epoch: u64, value: f64) -> Result<Option<Vec<f64>>, Error> {
        let name = &self.name;
        self.tables
            .write(|tx| async move {
                let update = "UPDATE tune_trials SET epochs = $4 \
                     WHERE study = $1 AND number = $2 AND token = $3 AND state = 'running'";
                let statement = tx.sql(update).bind(name.clone()).bind(trial.number as i64).bind(trial.token.clone());
                if statement.bind(epoch as i64).execute().await? == 0 {
                    return Ok(None);
                }
                tx.sql(
                    "INSERT INTO tune_steps (study, number, epoch, value) VALUES ($1, $2, $3, $4) \
                     ON CONFLICT (study, number, epoch) DO UPDATE SET value = excluded.value",
                )
                .bind(name.clone())
                .bind(trial.number as i64)
                .bind(epoch as i64)
                .bind(value)
                .execute()
                .await?;
                let rows = tx
                    .sql("SELECT value FROM tune_steps WHERE study = $1 AND epoch = $2")
                    .bind(name.clone())
                    .bind(epoch as i64)
                    .fetch_all()
                    .await?;
                rows.iter().map(|row| row.get::<f64>("value")).collect::<Result<Vec<_>, _>>().map(Some)
            })
            .await
    }

    /// Ends a trial: `complete` with an outcome, `pruned`, or `failed` with a reason. `false` when it is not held any more: what
    /// came out is another's to say.
    ///
    /// # Errors
    /// The tables.
    pub async fn end(
        &self,
        trial: &Trial,
        state: &str,
        outcome: Option<&Outcome>,
        why: Option<&str>,
        now: Timestamp,
    ) -> Result<bool, Error> {
        self.tables
            .write(|tx| async move {
                let held = tx
                    .sql("SELECT token FROM tune_trials WHERE study = $1 AND number = $2 AND state = 'running'")
                    .bind(self.name.clone())
                    .bind(trial.number as i64)
                    .fetch_optional()
                    .await?;
                let is_ours = match held {
                    Some(row) => row.get::<String>("token")? == trial.token,
                    None => false,
                };
                if is_ours {
                    self.end_row(&tx, trial.number, state, outcome, why, now).await?;
                }
                Ok(is_ours)
            })
            .await
    }

    async fn end_row(
        &self,
        tx: &Tx,
        number: u64,
        state: &str,
        outcome: Option<&Outcome>,
        why: Option<&str>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let outcome = outcome.map(serde_json::to_string).transpose().map_err(unreadable)?;
        let update = "UPDATE tune_trials SET state = $3, outcome = $4, why = $5, ended_at = $6, \
             ended = (SELECT COALESCE(max(ended), 0) + 1 FROM tune_trials WHERE study = $1) \
             WHERE study = $1 AND number = $2";
        tx.sql(update)
            .bind(self.name.clone())
            .bind(number as i64)
            .bind(state.to_owned())
            .bind(outcome)
            .bind(why.map(str::to_owned))
            .bind(now.0)
            .execute()
            .await?;
        Ok(())
    }

    /// Reads what has ended since the last time.
    async fn catch_up(&mut self) -> Result<(), Error> {
        let (name, read) = (&self.name, self.read);
        let rows = self.tables.read(|tx| async move {
            tx.sql(
                "SELECT ended, state, parameters, outcome, \
                 (SELECT max(epoch) FROM tune_steps s WHERE s.study = t.study AND s.number = t.number) AS epoch, \
                 (SELECT value FROM tune_steps s WHERE s.study = t.study AND s.number = t.number \
                  ORDER BY epoch DESC LIMIT 1) AS value \
                 FROM tune_trials t WHERE study = $1 AND ended > $2 ORDER BY ended",
            )
            .bind(name.clone())
            .bind(read as i64)
            .fetch_all()
            .await
        });
        for row in rows.await? {
            let pruned = row.get::<String>("state")? == "pruned";
            let reached = row.get::<Option<i64>>("epoch")?.zip(row.get::<Option<f64>>("value")?);
            self.past.push(Past {
                parameters: parsed(&row, "parameters")?,
                outcome: outcome(&row)?,
                pruned: reached.filter(|_| pruned).map(|(epoch, value)| (epoch as u64, value)),
            });
            self.read = row.unsigned("ended")?;
        }
        Ok(())
    }

    /// Every trial, by number.
    ///
    /// # Errors
    /// The tables.
    pub async fn trials(&self) -> Result<Vec<Record>, Error> {
        let name = &self.name;
        let rows = self.tables.read(|tx| async move {
            tx.sql(
                "SELECT number, state, attempt, parameters, outcome, why, epochs, \
                 (SELECT max(epoch) FROM tune_steps s WHERE s.study = t.study AND s.number = t.number) AS epoch, \
                 (SELECT value FROM tune_steps s WHERE s.study = t.study AND s.number = t.number \
                  ORDER BY epoch DESC LIMIT 1) AS value \
                 FROM tune_trials t WHERE study = $1 ORDER BY number",
            )
            .bind(name.clone())
            .fetch_all()
            .await
        });
        let record = |row: &Row| {
            Ok(Record {
                number: row.unsigned("number")?,
                state: row.get("state")?,
                attempt: row.unsigned("attempt")?,
                parameters: parsed(row, "parameters")?,
                outcome: outcome(row)?,
                why: row.get("why")?,
                epochs: row.unsigned("epochs")?,
                last: row.get::<Option<i64>>("epoch")?.map(|e| e as u64).zip(row.get::<Option<f64>>("value")?),
            })
        };
        rows.await?.iter().map(record).collect()
    }
}

fn outcome(row: &Row) -> Result<Option<Outcome>, Error> {
    let text: Option<String> = row.get("outcome")?;
    text.map(|text| serde_json::from_str(&text).map_err(unreadable)).transpose()
}

fn unreadable(error: serde_json::Error) -> Error {
    Error::other(error.to_string())
}

fn parsed<T: serde::de::DeserializeOwned>(row: &Row, column: &'static str) -> Result<T, Error> {
    serde_json::from_str(&row.get::<String>(column)?).map_err(unreadable)
}

/// What differs.
fn other(found: &Rules, wanted: &Rules) -> String {
    if found.space != wanted.space {
        let of = |rules: &Rules| -> Vec<String> {
            let text = |one| serde_json::to_string(one).unwrap_or_default();
            rules.space.parameters.iter().map(text).collect()
        };
        let (found, wanted) = (of(found), of(wanted));
        let first = wanted.iter().find(|one| !found.contains(one)).or(found.iter().find(|one| !wanted.contains(one)));
        return format!("space, as in {}", first.map_or("its order", String::as_str));
    }
    let parts = [
        ("sampler", found.sampler != wanted.sampler),
        ("pruner", found.pruner != wanted.pruner),
        ("number of objectives", found.objectives != wanted.objectives),
        ("seed", found.seed != wanted.seed),
    ];
    let part = parts.into_iter().find(|(_, differs)| *differs).map_or("objective", |(name, _)| name);
    part.into()
}
