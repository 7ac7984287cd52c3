package peer;

import java.util.regex.Pattern;

/** What varies in a line, masked by the four expressions that one writes first. */
final class Masks {
    private static final Pattern UUID =
            Pattern.compile("\\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\\b");
    private static final Pattern IP = Pattern.compile("\\b\\d{1,3}(?:\\.\\d{1,3}){3}(?::\\d+)?\\b");
    private static final Pattern HEX = Pattern.compile("\\b0x[0-9a-fA-F]+\\b");
    private static final Pattern NUMBER = Pattern.compile("\\d+");

    private Masks() {}

    static String template(String line) {
        String text = UUID.matcher(line).replaceAll("<uuid>");
        text = IP.matcher(text).replaceAll("<ip>");
        text = HEX.matcher(text).replaceAll("<hex>");
        return NUMBER.matcher(text).replaceAll("<n>");
    }
}
