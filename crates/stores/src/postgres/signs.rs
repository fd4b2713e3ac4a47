//! Signs of rows, read in the order in which they lie in the table.
//!
//! By their keys rows lie anywhere, so that each costs a walk through the primary key's index; one `COPY` of the whole table
//! takes a fraction of that and sends its rows without any of the care that is taken of a query's. Of a range it goes by
//! the index to the pages that hold some, and through these in their order. Nothing of a row is made into text or values
//! here: what is hashed are the bytes that the server sent.

use std::pin::Pin;

use crossfade_visibility::ports::Error;
use crossfade_visibility::sign::{Content, Moment, Page, Signer, Wanted};
use futures::stream::{self, BoxStream, Fuse, StreamExt as _};
use tokio_postgres::{Client, CopyOutStream};

use super::Postgres;

/// What a session for signs is set to, against what others are; see [`super::digest`].
const SESSION: &str = "SET enable_seqscan = on; SET enable_bitmapscan = on; SET jit = off; \
                       SET statement_timeout = '12h'; SET standard_conforming_strings = on";

/// What a binary `COPY` begins with.
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

/// Columns of a row ([`crate::columns::ALL`]).
const COLUMNS: usize = 21;

/// From 1970 to 2000, where PostgreSQL's times begin, in microseconds.
const EPOCH: i64 = 946_684_800_000_000;

/// What the server's text of JSON is written in: the same for the same value in every release with this type.
pub(super) const DIALECT: &str = "jsonb";

/// A reading under way.
struct Reading {
    signer: Signer,
    page: usize,
    rows: Option<Rows>,
}

struct Rows {
    /// They must not be asked for again after the last.
    rows: Fuse<Pin<Box<CopyOutStream>>>,
    /// Ends the reading with it.
    _client: Client,
}

impl Postgres {
    pub(super) fn signed(&self, wanted: Wanted) -> BoxStream<'_, Result<Page, Error>> {
        let reading = Reading {
            signer: Signer::new(wanted.terms),
            page: wanted.page.max(1),
            rows: None,
        };
        let as_text = wanted.terms.as_text;
        stream::try_unfold((reading, wanted), move |(mut reading, wanted)| async move {
            let mut rows = match reading.rows.take() {
                Some(rows) => rows,
                None => self.begin(&wanted).await?,
            };
            let mut page = Page::with_capacity(reading.page);
            while page.records.len() < reading.page {
                let Some(message) = rows.rows.next().await else { break };
                let message = message.map_err(|error| self.fault(&error))?;
                let taken = take(&message, &mut reading.signer, as_text, &mut page);
                taken.ok_or_else(|| self.garbled())?;
            }
            reading.rows = Some(rows);
            Ok((!page.records.is_empty()).then_some((page, (reading, wanted))))
        })
        .boxed()
    }

    async fn begin(&self, wanted: &Wanted) -> Result<Rows, Error> {
        self.order_known.get_or_try_init(|| self.learn_order()).await?;
        let range = &wanted.range;
        let collation = self.collation();
        let mut bounds = Vec::new();
        if let Some(namespace_id) = &range.namespace_id {
            bounds.push(format!("namespace_id = {}", literal(namespace_id)));
        }
        for (compared, end) in [(">", &range.after), ("<=", &range.until)] {
            if let Some(key) = end {
                bounds.push(format!(
                    "(namespace_id{collation}, run_id{collation}) {compared} ({}, {})",
                    literal(&key.namespace_id),
                    literal(&key.run_id)
                ));
            }
        }
        let bounds = match bounds.is_empty() {
            true => "TRUE".to_owned(),
            false => bounds.join(" AND "),
        };
        let statement = include_str!("../../sql/postgres/signs.sql").replace("{bounds}", &bounds);
        let statement = self
            .columns
            .for_reading(&statement, |sql_type| format!("NULL::{sql_type}"), collation);
        let client = self.reads.another().await?;
        let fault = |error: tokio_postgres::Error| self.fault(&error);
        client.batch_execute(SESSION).await.map_err(fault)?;
        let rows = client.copy_out(&statement).await.map_err(fault)?;
        Ok(Rows {
            rows: Box::pin(rows).fuse(),
            _client: client,
        })
    }

    fn garbled(&self) -> Error {
        Error::Failed {
            store: self.name.clone(),
            reason: "a row was not sent as expected of a binary COPY".to_owned(),
        }
    }
}

/// A text as SQL has it, where backslashes mean nothing.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Takes the rows of a message, which are whole; `None` where they are not.
fn take(message: &[u8], signer: &mut Signer, as_text: bool, page: &mut Page) -> Option<()> {
    let mut bytes = Bytes(message);
    if message.starts_with(SIGNATURE) {
        bytes.take(SIGNATURE.len() + 4)?;
        let extension = bytes.number()?;
        bytes.take(usize::try_from(extension).ok()?)?;
    }
    while !bytes.0.is_empty() {
        // After the last row there is a count of -1.
        let count = i16::from_be_bytes(bytes.take(2)?.try_into().ok()?);
        if count == -1 {
            return bytes.0.is_empty().then_some(());
        }
        if usize::try_from(count) != Ok(COLUMNS) {
            return None;
        }
        let mut row = [None; COLUMNS];
        for column in &mut row {
            *column = bytes.column()?;
        }
        push(row, signer, as_text, page)?;
    }
    Some(())
}

fn push(row: [Option<&[u8]>; COLUMNS], signer: &mut Signer, as_text: bool, page: &mut Page) -> Option<()> {
    let text = |at: usize| row[at].unwrap_or_default();
    let (namespace_id, run_id) = (unpadded(text(0)), unpadded(text(1)));
    let time = |at: usize| row[at].map_or(Some(None), |bytes| Some(Some(moment(bytes)?)));
    let whole = |at: usize| row[at].map_or(Some(None), |bytes| Some(Some(whole(bytes)?)));
    let mut attributes = signer.attributes();
    // A version of the form, which has been 1 for as long as there is this type, and a text.
    if let Some((_, json)) = row[16].and_then(|column| column.split_first()) {
        match as_text {
            true => attributes.take_text(json),
            false => attributes.take_json(json).ok()?,
        }
    }
    let unset = Moment {
        seconds: 0,
        nanoseconds: 0,
    };
    let sign = signer.sign(&Content {
        run_id,
        version: whole(2)?,
        start_time: time(3)?.unwrap_or(unset),
        execution_time: time(4)?.unwrap_or(unset),
        workflow_id: text(5),
        workflow_type: text(6),
        status: row[7].map_or(Some(0), |status| Some(i32::from_be_bytes(status.try_into().ok()?)))?,
        close_time: time(8)?,
        numbers: [whole(9)?, whole(10)?, whole(11)?, whole(12)?],
        memo: text(13),
        memo_encoding: text(14),
        task_queue: text(15),
        attributes: attributes.sum(),
        parent: [text(17), text(18)],
        root: [text(19), text(20)],
    });
    page.push(
        std::str::from_utf8(namespace_id).ok()?,
        std::str::from_utf8(run_id).ok()?,
        sign,
    );
    Some(())
}

fn unpadded(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
    &text[..end]
}

fn whole(bytes: &[u8]) -> Option<i64> {
    Some(i64::from_be_bytes(bytes.try_into().ok()?))
}

/// `infinity` is as far as numbers go.
fn moment(bytes: &[u8]) -> Option<Moment> {
    Some(Moment::from_microseconds(whole(bytes)?.saturating_add(EPOCH)))
}

/// Bytes that are not taken yet.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    /// A column's length, -1 for NULL, and its bytes.
    #[expect(clippy::option_option, reason = "no column at all, and NULL")]
    fn column(&mut self) -> Option<Option<&'a [u8]>> {
        match self.number()? {
            -1 => Some(None),
            length => Some(Some(self.take(usize::try_from(length).ok()?)?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use crossfade_visibility::ports::Precision;
    use crossfade_visibility::sameness::Yardstick;
    use crossfade_visibility::sign::Terms;

    use super::*;

    fn row() -> Vec<u8> {
        let mut row = 21_i16.to_be_bytes().to_vec();
        let mut column = |bytes: Option<&[u8]>| {
            let length = bytes.map_or(-1, |bytes| i32::try_from(bytes.len()).expect("short"));
            row.extend(length.to_be_bytes());
            row.extend(bytes.unwrap_or_default());
        };
        let number = 7_i64.to_be_bytes();
        column(Some(b"n       "));
        column(Some(b"r  "));
        (0..3).for_each(|_| column(Some(&number)));
        (0..2).for_each(|_| column(Some(b"text")));
        column(Some(&2_i32.to_be_bytes()));
        (0..5).for_each(|_| column(None));
        (0..3).for_each(|_| column(Some(b"")));
        column(Some(b"\x01{\"Int01\": 1}"));
        (0..4).for_each(|_| column(None));
        row
    }

    fn taken(message: &[u8]) -> Option<Page> {
        let mut page = Page::default();
        let terms = Terms::new(Yardstick::whole(Precision::Microsecond), true, false);
        take(message, &mut Signer::new(terms), false, &mut page).map(|()| page)
    }

    #[test]
    fn rows_are_taken_apart_and_what_is_cut_short_is_not() {
        let mut whole = [SIGNATURE, &[0; 8]].concat();
        whole.extend(row());
        whole.extend(row());
        whole.extend((-1_i16).to_be_bytes());
        let page = taken(&whole).expect("a page");
        assert_eq!(page.namespaces, ["n"]);
        assert_eq!(page.records.len(), 2);
        assert_eq!(page.records[0], page.records[1]);
        assert_eq!(taken(&row()).expect("a page").records.len(), 1);
        let ends = [19, 19 + row().len(), whole.len() - 2];
        for length in 1..whole.len() {
            assert_eq!(taken(&whole[..length]).is_some(), ends.contains(&length), "{length}");
        }
        let mut garbled = row();
        garbled[1] = 20;
        assert!(taken(&garbled).is_none());
    }

    #[test]
    fn no_text_ends_its_literal() {
        assert_eq!(literal("it's'"), "'it''s'''");
    }
}
