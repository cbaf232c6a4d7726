//! Somebody at a serial console: types, and waits for what is shown.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use quorate::admin::Client;

use crate::lab::{Lab, PATIENCE};

/// An open console, whoever shows it.
pub struct Terminal {
    input: Box<dyn Write + Send>,
    shown: Arc<Mutex<String>>,
    /// What was shown before this has been waited for.
    from: usize,
}

impl Terminal {
    /// A console that takes keys from `input` and shows what `output` gives, until its end.
    pub fn new(input: impl Write + Send + 'static, mut output: impl Read + Send + 'static) -> Terminal {
        let shown = Arc::<Mutex<String>>::default();
        std::thread::spawn({
            let shown = Arc::clone(&shown);
            move || {
                let mut bytes = [0; 4096];
                while let Ok(length @ 1..) = output.read(&mut bytes) {
                    let text = String::from_utf8_lossy(&bytes[..length]);
                    shown.lock().unwrap().push_str(&text);
                }
            }
        });
        let input = Box::new(input);
        Terminal { input, shown, from: 0 }
    }

    /// The guest's console, as node `index` shows it.
    pub fn open(lab: &Lab, index: usize) -> Terminal {
        let console = Client::connect(&lab.cluster.admin_socket(index)).and_then(Client::console);
        let stream = console.unwrap();
        Terminal::new(stream.input().unwrap(), stream)
    }

    /// Log in as Debian's root.
    pub fn log_in(&mut self) {
        self.type_in("\r");
        self.wait("login:");
        self.type_in("root\r");
        self.wait("Password:");
        self.type_in("quorate\r");
        self.wait("root@quorate:~# "); // after the terminal was asked for its size
    }

    pub fn type_in(&mut self, text: &str) {
        self.input.write_all(text.as_bytes()).unwrap();
        self.input.flush().unwrap();
    }

    /// Whether `text` has been shown at any time.
    pub fn shows(&self, text: &str) -> bool {
        self.shown.lock().unwrap().contains(text)
    }

    /// Wait until `text` is shown, after what was waited for last.
    pub fn wait(&mut self, text: &str) {
        let start = Instant::now();
        loop {
            let shown = self.shown.lock().unwrap();
            if let Some(at) = shown[self.from..].find(text) {
                self.from += at + text.len();
                return;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "the console never showed {text:?}, but:\n{shown}"
            );
            drop(shown);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The first word after what was waited for last; waits for its end.
    pub fn word(&mut self) -> String {
        let from = self.from;
        self.wait(" ");
        self.shown.lock().unwrap()[from..self.from].trim().to_owned()
    }
}
