//! The measurement's few options.

const USAGE: &str =
    "usage: flocker-pause [--moves N] [--data MEBIBYTES] [--no-floor] [--name SANDBOX]

  --moves     counted moves of each service (10)
  --data      how much data PostgreSQL has, in MiB (1024); Redis has 100 MiB at most
  --no-floor  leave out the bare script
  --name      the sandbox's name (pause)";

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// Counted moves of each service.
    pub(crate) moves: u32,
    /// How much data there is.
    pub(crate) data_bytes: u64,
    /// Whether the bare script is measured, too.
    pub(crate) floor: bool,
    /// The sandbox's name.
    pub(crate) name: String,
}

impl Options {
    /// Reads the arguments; the error is how to use the program.
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            moves: 10,
            data_bytes: 1 << 30,
            floor: true,
            name: "pause".to_owned(),
        };
        while let Some(argument) = arguments.next() {
            let mut number = || {
                let next = arguments.next()?;
                next.parse::<u64>().ok().filter(|number| *number > 0)
            };
            match argument.as_str() {
                "--moves" => {
                    let moves = number().and_then(|number| u32::try_from(number).ok());
                    options.moves = moves.ok_or(USAGE)?;
                }
                "--data" => {
                    let bytes = number().and_then(|number| number.checked_mul(1 << 20));
                    options.data_bytes = bytes.ok_or(USAGE)?;
                }
                "--no-floor" => options.floor = false,
                "--name" => options.name = arguments.next().ok_or(USAGE)?,
                _ => return Err(USAGE.to_owned()),
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_others_refused() {
        let parse = |line: &str| Options::parse(line.split_whitespace().map(str::to_owned));
        let options = parse("--moves 3 --data 64 --no-floor --name x").unwrap();
        assert_eq!((options.moves, options.data_bytes), (3, 64 << 20));
        assert!(!options.floor && options.name == "x");
        for bad in ["--moves", "--moves 0", "--data x", "--fast"] {
            assert!(parse(bad).unwrap_err().starts_with("usage"), "{bad}");
        }
    }
}
