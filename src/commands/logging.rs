//! What the commands that run a node can be told about their log.

use clap::{Args, ValueEnum};

use crate::{
    commands::outcome::{Exit, Failure},
    log::{self, Format, Level, LogError},
};

/// Options of the commands that run a node.
#[derive(Clone, Debug, Args)]
pub struct Logging {
    /// Log events of at least this level [env: P2PTUN_LOG, which also takes PART=LEVEL, as in p2ptun=debug]
    #[arg(long, value_name = "LEVEL", help_heading = "Log")]
    log_level: Option<Level>,
    /// The form of the log [env: P2PTUN_LOG_FORMAT] [default: auto]
    #[arg(long, value_name = "FORMAT", help_heading = "Log")]
    log_format: Option<Format>,
}

impl Logging {
    /// Whether somebody wants to see more or less than usual.
    pub fn is_asked_for(&self) -> bool {
        let named = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        self.log_level.is_some() || named("P2PTUN_LOG")
    }

    /// Writes events while the returned value lives: those of at least the level `default`, unless somebody asks for
    /// others.
    pub fn start(&self, default: Level) -> Result<log::Logging, Failure> {
        let settings = log::Settings {
            level: self.log_level,
            filter: if self.log_level.is_some() { None } else { variable("P2PTUN_LOG")? },
            default_level: default,
            format: match self.log_format {
                Some(format) => format,
                None => variable("P2PTUN_LOG_FORMAT")?.map_or(Ok(Format::default()), |name| format(&name))?,
            },
        };
        log::start(&settings).map_err(|error| match error {
            LogError::Filter(error) => Failure::new(Exit::Usage, format!("P2PTUN_LOG: {error}")),
            LogError::Thread(_) => Failure::new(Exit::Os, error.to_string()),
        })
    }
}

fn format(name: &str) -> Result<Format, Failure> {
    Format::from_str(name, false).map_err(|_| {
        let names: Vec<_> = Format::value_variants().iter().filter_map(ValueEnum::to_possible_value).collect();
        let names: Vec<_> = names.iter().map(|value| value.get_name()).collect();
        let message = format!("P2PTUN_LOG_FORMAT: `{name}` is no form of the log; write one of {}", names.join(", "));
        Failure::new(Exit::Usage, message)
    })
}

/// The text in the variable `name`. An empty one, as an environment file may hold it, says nothing.
fn variable(name: &str) -> Result<Option<String>, Failure> {
    match std::env::var_os(name).map(|value| value.into_string()) {
        None => Ok(None),
        Some(Ok(value)) => Ok(Some(value).filter(|value| !value.is_empty())),
        Some(Err(value)) => Err(Failure::new(Exit::Usage, format!("{name}: {value:?} is not UTF-8"))),
    }
}
