//! Which events are written.

use clap::ValueEnum;
use tracing_subscriber::{EnvFilter, filter::ParseError};

/// Of an event, the gravest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Level {
    /// The service or a tunnel needs a person
    Error,
    /// Something failed and is tried again, or was refused
    Warn,
    /// What the service does: tunnels, peers, configurations
    Info,
    /// Each stream and each dial
    Debug,
    /// What there is beyond that
    Trace,
}

impl Level {
    const NAMES: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

    fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// Why a filter can't be used.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    #[error(
        "`{word}` is no level{}; write error, warn, info, debug, trace or off, or PART=LEVEL for a part of the program, \
         such as p2ptun=debug",
        meant.map(|meant| format!(" (did you mean {meant}?)")).unwrap_or_default()
    )]
    NoLevel { word: String, meant: Option<&'static str> },
    #[error("`{0}`: {1}; write a level, such as debug, or PART=LEVEL, such as p2ptun=debug,libp2p_swarm=info")]
    Malformed(String, ParseError),
}

/// What the command line asks for, else the environment, else the events of at least the level `otherwise`. libp2p speaks
/// only of errors unless it is asked by name, for it has another idea of what an operator wants to know.
///
/// # Errors
///
/// Where the environment's filter is not one.
pub fn filter(asked: Option<Level>, variable: Option<&str>, otherwise: Level) -> Result<EnvFilter, FilterError> {
    match (asked, variable) {
        (None, Some(variable)) => written(variable),
        _ => {
            let filter = format!("error,p2ptun={}", asked.unwrap_or(otherwise).name());
            EnvFilter::try_new(&filter).map_err(|error| FilterError::Malformed(filter, error))
        }
    }
}

/// A filter in the syntax of [`EnvFilter`], but for one thing: a word by itself must be a level. `EnvFilter` takes any
/// other word for a part of the program, so that a level with a slip in it would make the log silent.
fn written(text: &str) -> Result<EnvFilter, FilterError> {
    let malformed = |error| FilterError::Malformed(text.to_owned(), error);
    let filter = EnvFilter::builder().with_regex(false).parse(text).map_err(malformed)?;
    let words = text.split(',').filter(|word| !word.is_empty());
    for word in words {
        let is_level = Level::NAMES.iter().any(|level| word.eq_ignore_ascii_case(level));
        if !is_level && !word.contains(['=', '[']) && word.parse::<u8>().is_err() {
            let lower = word.to_ascii_lowercase();
            let meant = Level::NAMES.into_iter().find(|level| {
                strsim::osa_distance(level, &lower) <= 2 || (level.len() > 3 && lower.starts_with(level))
            });
            return Err(FilterError::NoLevel { word: word.to_owned(), meant });
        }
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_goes_before_the_variable_and_both_before_the_default() {
        let text = |asked, variable| filter(asked, variable, Level::Warn).unwrap().to_string();
        assert_eq!(text(None, None), "p2ptun=warn,error");
        assert_eq!(text(None, Some("p2ptun=debug,libp2p_swarm=info")), "libp2p_swarm=info,p2ptun=debug");
        assert_eq!(text(Some(Level::Trace), Some("nonsense=nonsense")), "p2ptun=trace,error");
    }

    #[test]
    fn levels_are_those_that_the_filter_knows() {
        for level in Level::value_variants() {
            let name = level.to_possible_value().unwrap();
            assert_eq!(name.get_name(), level.name());
            assert!(level.name().parse::<tracing::Level>().is_ok());
        }
    }

    #[test]
    fn what_would_make_the_log_silent_by_mistake_is_refused() {
        for good in [
            "debug",
            "WARN",
            "off",
            "4",
            "info,p2ptun::node=trace",
            "p2ptun[dial{peer=1}]=debug",
            "p2ptun[{peer=\"a\"}]=debug",
            "a=off,",
        ] {
            assert!(written(good).is_ok(), "{good}");
        }
        for (bad, says) in [
            ("inof", "did you mean info?"),
            ("warning", "did you mean warn?"),
            ("p2ptun", "`p2ptun` is no level"),
            ("error,verbose", "`verbose` is no level"),
            ("p2ptun=inof", "p2ptun=inof"),
            ("p2ptun=debug=x", "p2ptun=debug=x"),
        ] {
            let error = written(bad).unwrap_err().to_string();
            assert!(error.contains(says), "{bad}: {error}");
        }
    }
}
