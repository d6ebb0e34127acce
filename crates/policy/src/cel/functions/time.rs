//! Points and lengths of time. The calendar is that of UTC.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::cel::Problem;
use crate::cel::evaluate::Run;
use crate::cel::value::Value;
use crate::kyverno::units::Duration;

pub(super) fn call(run: &Run<'_>, name: &str, arguments: &[Value]) -> Option<Result<Value, Problem>> {
    Some(match (name, arguments) {
        ("now" | "time.now", []) => Ok(Value::Time(run.now())),
        ("timestamp", [Value::Time(time)]) => Ok(Value::Time(*time)),
        ("timestamp", [Value::Int(second)]) => {
            Timestamp::from_second(*second).map(Value::Time).map_err(|e| e.to_string().into())
        }
        ("timestamp", [Value::Text(text)]) => text
            .parse()
            .map(Value::Time)
            .map_err(|_| format!("expected a time like 2026-01-01T00:00:00Z, found \"{text}\"").into()),
        ("duration", [Value::Duration(duration)]) => Ok(Value::Duration(*duration)),
        ("duration", [Value::Text(text)]) => Duration::parse(text)
            .map(|duration| Value::Duration(SignedDuration::from_nanos(duration.0)))
            .ok_or_else(|| format!("expected a length of time like 168h or 1h30m, found \"{text}\"").into()),
        (_, [Value::Time(time)]) => return of_time(name, time.to_zoned(TimeZone::UTC).datetime()),
        (_, [Value::Duration(duration)]) => return of_duration(name, *duration),
        _ => return None,
    })
}

fn of_time(name: &str, time: DateTime) -> Option<Result<Value, Problem>> {
    Some(Ok(Value::Int(match name {
        "getFullYear" => i64::from(time.year()),
        "getMonth" => i64::from(time.month()) - 1,
        "getDate" => i64::from(time.day()),
        "getDayOfMonth" => i64::from(time.day()) - 1,
        "getDayOfYear" => i64::from(time.day_of_year()) - 1,
        "getDayOfWeek" => i64::from(time.weekday().to_sunday_zero_offset()),
        "getHours" => i64::from(time.hour()),
        "getMinutes" => i64::from(time.minute()),
        "getSeconds" => i64::from(time.second()),
        "getMilliseconds" => i64::from(time.millisecond()),
        _ => return None,
    })))
}

fn of_duration(name: &str, duration: SignedDuration) -> Option<Result<Value, Problem>> {
    Some(Ok(Value::Int(match name {
        "getHours" => duration.as_hours(),
        "getMinutes" => duration.as_mins(),
        "getSeconds" => duration.as_secs(),
        "getMilliseconds" => i64::from(duration.subsec_millis()),
        _ => return None,
    })))
}
