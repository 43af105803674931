"""A video in; its table, its page and a copy with boxes and bars out.

    python examples/detect_video.py VIDEO MODEL OUT

`mien detect VIDEO --model MODEL --out OUT --page --video` does the same, for any number of files, and goes on
where it was interrupted.
"""

import sys
from pathlib import Path

from mien import Detector
from mien.visualise.annotated_video import write_annotated_video
from mien.visualise.detection_page import write_detection_page


def main(video: Path, model: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    found = Detector(model).detect(video)
    found.save(out / f"{video.stem}.csv")
    write_detection_page(found, video, out / f"{video.stem}.html")
    write_annotated_video(video, found, out / f"{video.stem}.annotated.mp4")
    for face_id in found.faces:
        rows = found.face(face_id).to_pandas()
        present = rows.filter(like="_present").dropna(axis="columns", how="all").mean()  # blank: not proven
        shares = ", ".join(f"{name.removesuffix('_present')} {share:.0%}" for name, share in present.items())
        print(f"face {face_id}: {len(rows)} frames; present: {shares}")
    print(found.warning)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
