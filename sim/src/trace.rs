//! What happened in a run: always as a number that two equal runs have in common, and, when somebody
//! wants to read it, as a story.

/// A run's trace.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    story: Option<Vec<String>>,
}

impl Trace {
    pub(crate) fn new(story: Story) -> Self {
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            story: (story == Story::Told).then(Vec::new),
        }
    }

    fn add(&mut self, value: u64) {
        self.hash = (self.hash ^ value)
            .wrapping_mul(0x0100_0000_01b3)
            .rotate_left(23);
    }

    pub(crate) fn note(&mut self, kind: u64, value: u64, more: u64) {
        self.add(kind);
        self.add(value);
        self.add(more);
    }

    /// Control tells what happens.
    pub(crate) fn hear(&mut self, now_us: u64, text: &str) {
        self.add(now_us);
        for byte in text.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.say(now_us, || format!("control: {text}"));
    }

    /// A line of the story, if it is told.
    pub(crate) fn say(&mut self, now_us: u64, line: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            let (seconds, rest) = (now_us / 1_000_000, now_us % 1_000_000 / 1_000);
            story.push(format!("{seconds:>5}.{rest:03}  {}", line()));
        }
    }

    /// The number that stands for everything that happened.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The story, line by line.
    pub fn lines(&self) -> &[String] {
        self.story.as_deref().unwrap_or_default()
    }
}

/// Whether a run is told as a story.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Story {
    /// Every line is kept.
    Told,
    /// None is: faster.
    Silent,
}
