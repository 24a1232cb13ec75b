//! A FIDO key in the agent, which alone can speak with the token: `sk-ssh-ed25519@openssh.com`, as OpenSSH's PROTOCOL.u2f has it.
//! The token is played; the server that judges its signatures is real.

use super::Node;
use super::ways_in::log_in;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData, SigningKey};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;

const ALGORITHM: &[u8] = b"sk-ssh-ed25519@openssh.com";
const APPLICATION: &[u8] = b"ssh:";
/// Somebody touched the token.
const PRESENT: u8 = 1;

// The agent's protocol: draft-ietf-sshm-ssh-agent.
const FAILURE: u8 = 5;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;

/// A token, and whether somebody touches it.
struct Token {
    key: KeyPair,
    touched: bool,
}

impl Token {
    fn public(&self) -> Vec<u8> {
        [string(ALGORITHM), string(self.key.der_bytes()), string(APPLICATION)].concat()
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let rest = [&[if self.touched { PRESENT } else { 0 }][..], &7_u32.to_be_bytes()].concat();
        let signed = [&Sha256::digest(APPLICATION)[..], &rest, &Sha256::digest(message)].concat();
        let signature = self.key.sign(&signed).unwrap();
        [string(ALGORITHM), string(&signature), rest].concat()
    }

    fn answer(&self, request: &[u8]) -> Vec<u8> {
        match request.split_first() {
            Some((&REQUEST_IDENTITIES, _)) => {
                [&[IDENTITIES_ANSWER, 0, 0, 0, 1][..], &string(&self.public()), &string(b"a token")].concat()
            }
            Some((&SIGN_REQUEST, rest)) => {
                let (key, rest) = take(rest);
                let (message, _) = take(rest);
                assert_eq!(key, self.public());
                [vec![SIGN_RESPONSE], string(&self.sign(message))].concat()
            }
            _ => vec![FAILURE],
        }
    }
}

fn string(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap();
    [&length.to_be_bytes()[..], bytes].concat()
}

fn take(bytes: &[u8]) -> (&[u8], &[u8]) {
    let (length, rest) = bytes.split_first_chunk().unwrap();
    rest.split_at(u32::from_be_bytes(*length) as usize)
}

/// An agent with this token; its thread ends with the test's process.
fn agent(socket: &Path, token: Token) {
    let (listener, token) = (UnixListener::bind(socket).unwrap(), Arc::new(token));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let token = Arc::clone(&token);
            std::thread::spawn(move || serve(stream, &token));
        }
    });
}

/// Until the client hangs up.
fn serve(mut stream: UnixStream, token: &Token) -> io::Result<()> {
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let mut request = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut request)?;
        stream.write_all(&string(&token.answer(&request)))?;
    }
}

#[test]
fn a_fido_key_in_the_agent_lets_us_in_when_its_token_is_touched() {
    let Some(node) = Node::start(false) else { return };
    for (touched, expect) in [(true, ""), (false, "user root is not let in; tried sk-ssh-ed25519@openssh.com SHA256:")]
    {
        let token = Token { key: KeyPair::generate_for(&PKCS_ED25519).unwrap(), touched };
        let line = format!("{} {} a token\n", String::from_utf8_lossy(ALGORITHM), STANDARD.encode(token.public()));
        fs::write(node.path("id.pub"), line).unwrap();
        let socket = node.path(if touched { "touched" } else { "untouched" });
        agent(&socket, token);
        log_in(&node, Some(&socket.display().to_string()), expect);
    }
}
