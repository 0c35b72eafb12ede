//! Times as the protocol writes them, in UTC of the proleptic Gregorian calendar.
//!
//! Days are turned into dates by the arithmetic that counts years from March, so that the leap day is a year's last.

/// Milliseconds of a day.
const DAY: u64 = 86_400_000;

/// Year, month, day, and the milliseconds of that day.
fn parts(ms: u64) -> (u64, u64, u64, u64) {
    let (day, rest) = (ms / DAY, ms % DAY);
    // From the first of March of the year 0 on, in spans of 400 years.
    let z = day + 719_468;
    let (era, of_era) = (z / 146_097, z % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let date = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year + u64::from(month <= 2), month, date, rest)
}

/// `2026-11-28T13:33:55.123`.
pub(crate) fn iso(ms: u64) -> String {
    let (year, month, day, rest) = parts(ms);
    let (seconds, ms) = (rest / 1000, rest % 1000);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{ms:03}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// `20261128T133355Z`.
pub(crate) fn basic(ms: u64) -> String {
    let (year, month, day, rest) = parts(ms);
    let seconds = rest / 1000;
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// What [`iso`] wrote.
pub(crate) fn of_iso(text: &str) -> Option<u64> {
    let (date, time) = text.split_once('T')?;
    let [year, month, day] = numbers(date, '-')?;
    let (time, ms) = time.split_once('.')?;
    let [hour, minute, second] = numbers(time, ':')?;
    let at = of_parts([year, month, day], [hour, minute, second])?.checked_add(digits(ms)?)?;
    (iso(at) == text).then_some(at)
}

/// Milliseconds since 1970 of a date and a time of that day.
pub(crate) fn of_parts([year, month, day]: [u64; 3], [hour, minute, second]: [u64; 3]) -> Option<u64> {
    let fits = (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !fits || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (year, from_march) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let of_year = (153 * from_march + 2) / 5 + day - 1;
    let days = year / 400 * 146_097 + year % 400 * 365 + year % 400 / 4 - year % 400 / 100 + of_year;
    Some((days - 719_468) * DAY + ((hour * 60 + minute) * 60 + second) * 1000)
}

fn numbers(text: &str, between: char) -> Option<[u64; 3]> {
    let mut parts = text.split(between).map(digits);
    let three = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(three)
}

/// A number of digits alone.
pub(crate) fn digits(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_come_back() {
        assert_eq!(iso(0), "1970-01-01T00:00:00.000");
        assert_eq!(iso(951_782_400_000), "2000-02-29T00:00:00.000");
        assert_eq!(iso(1_795_869_235_123), "2026-11-28T12:33:55.123");
        for day in 0..60_000 {
            let ms = day * DAY + day * 1_001 % DAY;
            assert_eq!(of_iso(&iso(ms)), Some(ms));
        }
        for text in
            ["", "2026-11-28", "2026-11-28T1:33:55.123", "2026-13-28T12:33:55.123", "2026-02-30T12:33:55.123"]
        {
            assert_eq!(of_iso(text), None, "{text}");
        }
    }
}
