package peer;

import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;

/**
 * The product's own idea in Java: a line's key is a 64-bit hash of the line without the tokens that hold a digit; only
 * keys that were never seen reach the regular expressions.
 */
final class Canonical {
    private static final boolean[] DELIMITER = new boolean[256];
    private static final long PRIME = 0x100000001b3L;

    static {
        for (byte each : " \t\r\n,;:()[]{}\"'=<>|".getBytes(StandardCharsets.US_ASCII)) {
            DELIMITER[each] = true;
        }
    }

    private final Map<Long, String> templates = new HashMap<>();

    /** The template of the line that stands in `text` at [start, end). */
    String template(byte[] text, int start, int end) {
        long key = 0xcbf29ce484222325L;
        int at = start;
        while (at < end) {
            if (DELIMITER[text[at] & 0xff]) {
                key = mix(key, text[at++]);
                continue;
            }
            long token = key;
            boolean digit = false;
            for (; at < end && !DELIMITER[text[at] & 0xff]; at++) {
                digit |= text[at] >= '0' && text[at] <= '9';
                token = mix(token, text[at]);
            }
            key = digit ? mix(key, (byte) '0') : token;
        }
        var known = templates.get(key);
        if (known == null) {
            known = Masks.template(new String(text, start, end - start, StandardCharsets.UTF_8));
            templates.put(key, known);
        }
        return known;
    }

    private static long mix(long key, byte next) {
        return (key ^ (next & 0xff)) * PRIME;
    }
}
