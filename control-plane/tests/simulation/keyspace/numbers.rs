//! How Redis reads and writes numbers.

use super::{ERR, Refused};

pub(super) fn integer(bytes: &[u8]) -> Result<i64, Refused> {
    let text = std::str::from_utf8(bytes).map_err(|_| ERR)?;
    let number: i64 = text.parse().map_err(|_| ERR)?;
    // Redis takes only how it would write the number itself: no plus sign, no leading zero.
    if number.to_string() == text {
        Ok(number)
    } else {
        Err(ERR)
    }
}

pub(super) fn float(bytes: &[u8]) -> Result<f64, Refused> {
    let text = std::str::from_utf8(bytes).map_err(|_| ERR)?;
    let number = match text {
        "inf" | "+inf" => f64::INFINITY,
        "-inf" => f64::NEG_INFINITY,
        text => text.parse().map_err(|_| ERR)?,
    };
    if number.is_nan() { Err(ERR) } else { Ok(number) }
}

/// C's `%.17g`, as Redis 7 writes a score and as it passes a script's number to a command.
pub fn shortest_of_17_digits(number: f64) -> String {
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{number:.16e}");
    let (mantissa, exponent) = scientific.split_once('e').expect("it has an exponent");
    let exponent: i32 = exponent.parse().expect("it is a number");
    if (-4..17).contains(&exponent) {
        let decimals = usize::try_from(16 - exponent).expect("it is not above 16");
        without_trailing_zeros(&format!("{number:.decimals$}")).to_owned()
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{}e{sign}{:02}", without_trailing_zeros(mantissa), exponent.abs())
    }
}

fn without_trailing_zeros(number: &str) -> &str {
    if number.contains('.') {
        number.trim_end_matches('0').trim_end_matches('.')
    } else {
        number
    }
}

#[cfg(test)]
mod tests {
    use super::shortest_of_17_digits as written;

    #[test]
    fn numbers_are_written_as_c_writes_them() {
        let cases = [
            (0.0, "0"),
            (1.0, "1"),
            (-12.5, "-12.5"),
            (1_763_913_600_123.0, "1763913600123"),
            (1_763_913_600_123_456.0, "1763913600123456"),
            (0.1, "0.10000000000000001"),
            (0.000_01, "1.0000000000000001e-05"),
            (1e17, "1e+17"),
            (1.5e300, "1.5000000000000001e+300"),
        ];
        for (number, text) in cases {
            assert_eq!(written(number), text);
        }
    }
}
