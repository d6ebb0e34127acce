//! Functions over times. "Now" is the time of the evaluation.

use serde_json::Value;

use super::Kind::Text;
use super::{Call, Error, Function, Outcome, function};
use crate::kyverno::units::{Duration, Moment};

pub(super) const FUNCTIONS: &[Function] = &[
    function("time_since", &[&[Text], &[Text], &[Text]], since),
    function("time_now", &[], now),
    function("time_now_utc", &[], now),
    function("time_add", &[&[Text], &[Text]], |call| {
        let later = call.moment(0)?.add(call.duration(1)?);
        call.written(later)
    }),
    function("time_parse", &[&[Text], &[Text]], parse),
    function("time_to_cron", &[&[Text]], |call| Ok(Value::from(call.moment(0)?.cron()))),
    function("time_utc", &[&[Text]], |call| call.written(Some(call.moment(0)?.utc()))),
    function("time_diff", &[&[Text], &[Text]], |call| {
        Ok(Value::from(call.moment(1)?.since(call.moment(0)?).to_string()))
    }),
    function("time_before", &[&[Text], &[Text]], |call| {
        Ok(Value::Bool(call.moment(0)?.timestamp() < call.moment(1)?.timestamp()))
    }),
    function("time_after", &[&[Text], &[Text]], |call| {
        Ok(Value::Bool(call.moment(0)?.timestamp() > call.moment(1)?.timestamp()))
    }),
    function("time_between", &[&[Text], &[Text], &[Text]], between),
    function("time_truncate", &[&[Text], &[Text]], |call| {
        let cut = call.moment(0)?.truncate(call.duration(1)?);
        call.written(cut)
    }),
];

impl Call<'_> {
    fn moment(&self, position: usize) -> Result<Moment, Error> {
        let text = self.text(position)?;
        Moment::parse(text).ok_or_else(|| {
            self.error(format!("expected a time such as 2026-01-31T12:00:00Z, found \"{text}\""))
        })
    }

    fn duration(&self, position: usize) -> Result<Duration, Error> {
        let text = self.text(position)?;
        Duration::parse(text)
            .ok_or_else(|| self.error(format!("expected a length of time such as 1h30m, found \"{text}\"")))
    }

    fn written(&self, moment: Option<Moment>) -> Outcome {
        let moment = moment.ok_or_else(|| self.error("the time is too far away"))?;
        Ok(Value::from(moment.rfc_3339()))
    }

    fn laid_out(&self, layout: &str, position: usize) -> Result<Moment, Error> {
        let text = self.text(position)?;
        Moment::parse_layout(layout, text)
            .ok_or_else(|| self.error(format!("expected a time written like \"{layout}\", found \"{text}\"")))
    }
}

/// `time_since(layout, from, to)`; without a layout RFC 3339, without an end now.
fn since(call: &Call<'_>) -> Outcome {
    let layout = call.text(0)?;
    let moment = |position| {
        if layout.is_empty() { call.moment(position) } else { call.laid_out(layout, position) }
    };
    let from = moment(1)?;
    let to = if call.text(2)?.is_empty() { Moment::from(call.run.now) } else { moment(2)? };
    Ok(Value::from(to.since(from).to_string()))
}

/// Kyverno's `time_now` is in the zone of its machine; there is no such zone here.
fn now(call: &Call<'_>) -> Outcome {
    call.written(Some(Moment::from(call.run.now)))
}

/// `time_parse(layout, text)`; a layout that is a number stands for seconds since 1970.
fn parse(call: &Call<'_>) -> Outcome {
    let layout = call.text(0)?;
    if layout.parse::<i64>().is_err() {
        return call.written(Some(call.laid_out(layout, 1)?));
    }
    let seconds = call.text(1)?;
    let seconds: i64 = seconds
        .parse()
        .map_err(|_| call.error(format!("expected seconds since 1970, found \"{seconds}\"")))?;
    call.written(Moment::of_epoch(seconds))
}

fn between(call: &Call<'_>) -> Outcome {
    let (at, start, end) =
        (call.moment(0)?.timestamp(), call.moment(1)?.timestamp(), call.moment(2)?.timestamp());
    Ok(Value::Bool(at > start && at < end))
}
