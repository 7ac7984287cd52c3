package peer;

/** Tells the benchmark on standard output when the warm-up is over, and when everything is counted. */
final class Marks {
    private final long warm;
    private final long all;
    private long seen;

    Marks(long warm, long all) {
        this.warm = warm;
        this.all = all;
    }

    /** Lines that were counted; true when they were the last. */
    synchronized boolean add(long lines) {
        long before = seen;
        seen += lines;
        if (before < warm && seen >= warm) {
            say("warm");
        }
        return before < all && seen >= all;
    }

    /** Everything is counted and delivered. */
    synchronized void done() {
        say("done");
    }

    private void say(String mark) {
        System.out.println(mark + " " + seen);
        System.out.flush();
    }
}
