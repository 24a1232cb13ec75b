//! What looks like a secret by its shape, whatever flag it stands under: key material, tokens of well-known makers, long texts that
//! look random.

/// How the tokens of well-known makers begin.
const TOKENS: [&str; 23] = [
    "AKIA",
    "ASIA",
    "eyJ",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "xoxa-",
    "xapp-",
    "sk_live_",
    "sk-",
    "AIza",
    "ya29.",
    "hvs.",
    "hvb.",
    "npm_",
    "pypi-",
    "dop_v1_",
    "AGE-SECRET-KEY-",
];
/// Shorter texts than this look random by chance. Characters.
const LONG: usize = 16;

/// Whether this is key material: PEM, or what a PEM block holds.
pub(super) fn is_key(text: &str) -> bool {
    ["-----BEGIN", "PRIVATE KEY", "LS0tLS1CRUdJTi"].iter().any(|mark| text.contains(mark))
}

/// Whether some part of this looks random. Hashes that name an image are left alone: they are no secret.
pub(super) fn is_random(text: &str) -> bool {
    let public = |c: &str| c.ends_with("sha256") || c.ends_with("sha512");
    let mut before = "";
    for piece in text.split(|c: char| !(c.is_ascii_alphanumeric())) {
        if !public(before) && random_word(piece) {
            return true;
        }
        before = piece;
    }
    // A token's own separators are part of it.
    text.split([',', ';', ' ', '=', '"', '\'', ':', '@', '?', '&', '\n', '\t']).any(|whole| {
        TOKENS.iter().any(|token| whole.strip_prefix(token).is_some_and(|rest| rest.len() >= 8))
            || is_uuid(whole)
            || base64(whole)
    })
}

/// One word without separators.
fn random_word(word: &str) -> bool {
    if word.len() < LONG {
        return false;
    }
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    if digits == word.len() {
        return word.len() >= 32;
    }
    let upper = word.bytes().filter(u8::is_ascii_uppercase).count();
    let lower = word.len() - digits - upper;
    let hex = word.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b.to_ascii_lowercase()));
    if hex && digits > 0 {
        return true;
    }
    let changes = changes(word);
    match (digits, upper, lower) {
        // Words run together have capitals at their beginnings: at most every third letter changes its case.
        (0, 1.., 1..) => changes * 5 > word.len() * 2,
        (0, _, _) => word.len() >= 48 && !words_like(word),
        (_, 0, _) | (_, _, 0) => changes >= 4,
        _ => changes >= 5 && changes * 4 > word.len(),
    }
}

/// How often the kind of the character changes: small, capital, digit.
fn changes(word: &str) -> usize {
    let kind = |b: u8| (b.is_ascii_digit(), b.is_ascii_uppercase(), b.is_ascii_alphanumeric());
    word.as_bytes().windows(2).filter(|pair| kind(pair[0]) != kind(pair[1])).count()
}

/// Whether vowels come as often as in words.
fn words_like(word: &str) -> bool {
    let vowels = word.bytes().filter(|b| b"aeiouyAEIOUY".contains(b)).count();
    (3..=7).contains(&(vowels * 10 / word.len().max(1)))
}

/// `8-4-4-4-12` hexadecimal digits.
fn is_uuid(text: &str) -> bool {
    let parts: Vec<&str> = text.trim_matches(['{', '}', '/']).rsplit('/').next().unwrap_or("").split('-').collect();
    let hex = |part: &str| part.bytes().all(|b| b.is_ascii_hexdigit());
    parts.iter().map(|p| p.len()).eq([8, 4, 4, 4, 12]) && parts.iter().all(|p| hex(p))
}

/// A long text of base64's characters, all kinds of them mixed.
fn base64(text: &str) -> bool {
    let text = text.trim_end_matches('=');
    let alphabet = |b: u8| b.is_ascii_alphanumeric() || b"+/_-".contains(&b);
    let has = |kind: fn(&u8) -> bool| text.as_bytes().iter().any(kind);
    text.len() >= 20
        && text.bytes().all(alphabet)
        && has(u8::is_ascii_digit)
        && has(u8::is_ascii_uppercase)
        && has(u8::is_ascii_lowercase)
        && changes(text) * 5 >= text.len() * 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_not_random() {
        for plain in [
            "RotateKubeletServerCertificate",
            "LegacyServiceAccountTokenNoAutoGeneration=true,CSIMigrationvSphere=false",
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
            "10.99.0.11=https://10.99.0.11:2380,10.99.0.12=https://10.99.0.12:2380",
            "ip-10-0-13-250.eu-west-1.compute.internal",
            "2001:db8:85a3:8d3:1319:8a2e:370:7348",
            "/etc/kubernetes/apiserver/pki/apiserver-etcd-client.crt",
            "registry.k8s.io/pause@sha256:7031c1b283388d2c2e09b57badb803c05ebed362dc88d84b480cc47f72a21097",
            "system:kube-controller-manager",
            "admissionregistration.k8s.io/v1beta1=true",
            "NodeRestriction,DenyServiceExternalIPs,ValidatingAdmissionPolicy",
            "unix:///run/containerd/containerd.sock",
            "memory.available<100Mi,nodefs.available<10%",
            "8589934592",
        ] {
            assert!(!is_random(plain) && !is_key(plain), "{plain}");
        }
    }

    #[test]
    fn tokens_hashes_and_keys_are() {
        for secret in [
            "9f86d081884c7d659a2feaa0c55ad015",
            "abcdef.0123456789abcdef",
            "AKIAIOSFODNN7EXAMPLE1",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "eyJhbGciOiJIUzI1NiJ9.e30.ZRrHA1JJJW8opsbCGfG_HACGpVUMN_a9IV7pAx_Zmeo",
            "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
            "550e8400-e29b-41d4-a716-446655440000",
            "JBSWY3DPEHPK3PXP",
            "xoxb-123456789012-abcdefghij",
        ] {
            assert!(is_random(secret), "{secret}");
        }
        assert!(is_key("-----BEGIN RSA PRIVATE KEY-----\nMIIE"));
    }
}
