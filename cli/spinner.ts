import { plain } from "./table.ts";

export interface Spinner {
  /** What stands beside it from now on; cut to the terminal's width. */
  update(text: string): void;
  /** Takes it off the screen. */
  end(): void;
}

const FRAMES = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"] as const;
const FRAME_MS = 80;

/** A line on stderr, which must be a terminal, that is drawn again until `end`. */
export function startSpinner(first: string): Spinner {
  let text = first;
  let frame = 0;
  const draw = (): void => {
    const width = (process.stderr.columns || 80) - 1;
    process.stderr.write(
      `\r\u001b[K${`${FRAMES[frame % FRAMES.length]} ${plain(text)}`.slice(0, width)}`,
    );
    frame += 1;
  };
  draw();
  const timer = setInterval(draw, FRAME_MS);
  return {
    update(next) {
      text = next;
    },
    end() {
      clearInterval(timer);
      process.stderr.write("\r\u001b[K");
    },
  };
}
