"""The page in a real browser: opened from the disk, clicked, typed at, and watched for requests."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mien.visualise.detection_page import write_detection_page
from tests.visualise.conftest import detections_of

HOSTILE = "a b\"'><img src=x onerror=alert(1)>&;$(touch pwned)%41#?.mp4"
THRESHOLDS = {"AU01": 0.2, "AU04": 0.5, "AU12": 0.5}
NOW = "document.getElementById('video').currentTime"


@pytest.fixture
def opened(chromium, tmp_path):
    """open(path, width=1280) -> the page; at the end: no error, no dialog, no request beyond the disk."""
    troubles, contexts = [], []

    def open_page(path, *, width=1280):
        context = chromium.new_context(viewport={"width": width, "height": 900})
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
        page.on("dialog", lambda dialog: troubles.append("a dialog opened"))
        page.on("console", lambda line: line.type == "error" and troubles.append(line.text))
        page.on(
            "request",
            lambda request: (
                request.url.startswith(("file:", "blob:", "data:"))
                or troubles.append(f"asked for {request.url}")
            ),
        )
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert troubles == []


@pytest.fixture
def page(opened, two_faces, write_grey_video, tmp_path):
    video = write_grey_video(tmp_path / "two.mp4")
    page = opened(
        write_detection_page(detections_of(two_faces(), thresholds=THRESHOLDS), video, tmp_path / "two.html")
    )
    until(page, "document.getElementById('video').readyState >= 2")
    return page


def until(page, expression):
    """Waits for it to hold. (Playwright's own waiting evaluates text in the page, which the page forbids.)"""
    for _ in range(2000):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never true: {expression}")


def require_grey(page, expected):
    """That the video as it stands in the browser comes to that brightness in its middle."""
    until(page, "!document.getElementById('video').seeking")
    for _ in range(400):
        if (found := shown_grey(page)) == pytest.approx(expected, abs=1.9):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"{found} is shown, not {expected}")


def shown_grey(page):
    """The brightness of the middle of the video."""
    box = page.locator("#video").bounding_box()
    middle = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2, "width": 2, "height": 2}
    picture = cv2.imdecode(np.frombuffer(page.screenshot(clip=middle), np.uint8), cv2.IMREAD_COLOR)
    return float(picture.mean())


def test_a_click_on_the_time_line_seeks_the_video_and_chooses_the_unit(page):
    box = page.locator("#lane").bounding_box()
    page.mouse.click(box["x"] + 0.6 * box["width"], box["y"] + 24 * 1.5)
    assert page.evaluate(NOW) == pytest.approx(1.2, abs=0.01)
    assert page.inner_text("#nowname") == "AU04 brow lowerer"
    assert "frame 30" in page.inner_text("#clock") or "frame 29" in page.inner_text("#clock")


def test_a_drag_seeks_too(page):
    box = page.locator("#curvelane").bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 20, steps=4)
    page.mouse.up()
    assert page.evaluate(NOW) == pytest.approx(1.0, abs=0.01)


def test_keys_step_frames_play_and_choose(page):
    for _ in range(3):
        page.keyboard.press(".")
    assert "frame 3" in page.inner_text("#clock")
    page.keyboard.press(",")
    assert 0.08 < page.evaluate(NOW) < 0.12  # within frame 2
    page.keyboard.press("ArrowRight")
    assert page.evaluate(NOW) == pytest.approx(1.1, abs=0.01)
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert page.inner_text("#nowname") == "AU12 lip corner puller"
    page.keyboard.press("ArrowUp")
    assert page.get_attribute("#unit1", "aria-selected") == "true"
    page.keyboard.press("f")
    assert page.is_checked("#faces input[value='1']")
    assert page.is_visible("[data-face='1']")
    assert page.is_hidden("[data-face='0']")
    page.evaluate("document.getElementById('video').loop = true")  # it must not end before the second key
    page.keyboard.press(" ")
    until(page, f"{NOW} > 0.5")
    page.keyboard.press(" ")
    assert page.evaluate("document.getElementById('video').paused")


def test_a_key_goes_to_the_next_episode(page, two_faces):
    table = two_faces()
    face = table[table["face_id"] == 0].set_index("frame")["AU01_present"]
    starts = [f for f in face.index if face[f] and not face.get(f - 1, 0) and f > 0]
    page.keyboard.press("n")
    assert page.inner_text("#clock").endswith(f"frame {starts[0]}")


def test_values_beside_the_time_line_are_those_of_the_frame(page, two_faces):
    table = two_faces()
    for _ in range(4):
        page.keyboard.press(".")
    row = table[(table["frame"] == 4) & (table["face_id"] == 0)].iloc[0]
    shown = [float(text) for text in page.locator(".unit .value").all_inner_texts()]
    assert shown == pytest.approx([row["AU01"], row["AU04"], row["AU12"]], abs=0.0071)
    marks = page.locator(".unit .mark").all_inner_texts()
    assert marks == ["●" if row[f"{u}_present"] else "○" for u in ("AU01", "AU04", "AU12")]


def test_a_unit_whose_presence_is_left_blank_has_no_mark(opened, two_faces, write_grey_video, tmp_path):
    table = two_faces().assign(AU04_present=None)
    detections = detections_of(table, thresholds={"AU04": 0.04})
    page = opened(
        write_detection_page(detections, write_grey_video(tmp_path / "two.mp4"), tmp_path / "b.html")
    )
    marks = page.locator(".unit .mark").all_inner_texts()
    assert [bool(mark) for mark in marks] == [True, False, True]
    assert page.locator(".unit .value").all_inner_texts()[1].startswith(".")
    page.click("#unit1")
    assert page.inner_text("#nowwords") == "presence left blank"
    assert page.is_hidden("#unit1 u")  # the tick at the threshold


def test_a_frame_without_a_face_says_so(page):
    for _ in range(12):
        page.keyboard.press(".")
    assert "no face" in page.inner_text("#nowwords")
    assert "no face" in page.get_attribute("#lane", "aria-valuetext")


def test_the_frame_shown_is_the_frame_named_at_a_variable_rate(opened, two_faces, write_grey_video, tmp_path):
    seconds = np.cumsum([0.0, *([0.02, 0.1, 0.04, 0.3] * 12)])
    table = two_faces(num_frames=len(seconds))
    table["timestamp"] = 7.5 + seconds[table["frame"]]  # the table counts from another moment
    video = write_grey_video(tmp_path / "two.mp4", seconds=list(seconds))
    page = opened(write_detection_page(detections_of(table), video, tmp_path / "vfr.html"))
    until(page, "document.getElementById('video').readyState >= 2")
    for frame in (1, 2, 3, 4):
        page.keyboard.press(".")
        assert page.inner_text("#clock").endswith(f"frame {frame}")
        require_grey(page, 4 * frame)


def test_pictures_that_begin_after_the_sound_are_named_rightly(
    opened, two_faces, write_sounding_video, tmp_path
):
    video = write_sounding_video(tmp_path / "two.mp4", seconds=2, late=0.4)
    page = opened(write_detection_page(detections_of(two_faces()), video, tmp_path / "late.html"))
    until(page, "document.getElementById('video').readyState >= 2")
    for frame in (1, 2, 3):
        page.keyboard.press(".")
        assert page.inner_text("#clock").endswith(f"frame {frame}")
        require_grey(page, 4 * frame)


def test_colours_may_have_the_threshold_in_the_middle(page):
    pixel = "[...document.getElementById('heat').getContext('2d').getImageData(100, 6, 1, 1).data]"
    plain = page.evaluate(pixel)
    page.check("#relative")
    assert page.evaluate(pixel) != plain
    page.uncheck("#relative")
    assert page.evaluate(pixel) == plain


def test_left_and_right_of_the_chosen_unit_are_two_lines(opened, two_faces, write_grey_video, tmp_path):
    table = two_faces().assign(AU12_intensity_left=5.0, AU12_intensity_right=0.0)
    page = opened(
        write_detection_page(
            detections_of(table), write_grey_video(tmp_path / "two.mp4"), tmp_path / "s.html"
        )
    )
    assert page.is_hidden("#sideslane")  # of AU01
    page.click("#unit2")
    assert "AU12, intensity 0 to 5" in page.inner_text("#sideslabel")
    colours = """y => new Set([...new Uint32Array(document.getElementById('sides').getContext('2d')
        .getImageData(10, y, 120, 1).data.buffer)]).size"""
    assert page.evaluate(colours, 5) == 1  # one line without a break: the left side, at the top
    assert page.evaluate(colours, 35) == 1  # between the sides
    assert page.evaluate(colours, 65) > 1  # dashes of the right side
    box = page.locator("#sideslane").bounding_box()
    page.mouse.click(box["x"] + 0.5 * box["width"], box["y"] + 40)
    assert page.evaluate(NOW) == pytest.approx(1.0, abs=0.01)


def test_zooming_in_shows_less_of_the_file(page):
    page.keyboard.press("+")
    assert page.inner_text("#spanlabel") == "1.0 s shown"
    page.keyboard.press("0")
    assert page.inner_text("#spanlabel") == ""


def test_a_hostile_name_is_shown_and_its_video_plays(opened, two_faces, write_grey_video, tmp_path):
    video = write_grey_video(tmp_path / "in" / HOSTILE)
    page = opened(write_detection_page(detections_of(two_faces(HOSTILE)), video, tmp_path / "out/page.html"))
    until(page, "document.getElementById('video').readyState >= 2")
    assert page.inner_text("h1") == HOSTILE
    assert not list(tmp_path.rglob("pwned"))


def test_without_the_video_the_time_line_still_works(opened, two_faces, write_grey_video, tmp_path, chromium):
    video = write_grey_video(tmp_path / "two.mp4")
    path = write_detection_page(detections_of(two_faces()), video, tmp_path / "gone.html")
    moved = video.rename(tmp_path / "moved.mp4")
    context = chromium.new_context()  # the browser's own word on the missing file is no trouble here
    page = context.new_page()
    page.goto(path.as_uri())
    page.wait_for_selector("#missing", state="visible")
    page.keyboard.press(".")
    assert "frame 1" in page.inner_text("#clock")
    page.set_input_files("#choose", moved)
    until(page, "document.getElementById('video').readyState >= 2")
    assert page.is_hidden("#missing")
    context.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_window(opened, two_faces, write_grey_video, tmp_path, width):
    video = write_grey_video(tmp_path / "two.mp4")
    page = opened(write_detection_page(detections_of(two_faces()), video, tmp_path / "w.html"), width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("#heat").bounding_box()["width"] > 0.4 * width


def test_every_control_has_a_name(page):
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('button, input, select, [role=slider], [role=listbox]')]
        .filter((e) => !(e.getAttribute('aria-label') || e.innerText || (e.labels && e.labels.length)))
        .map((e) => e.outerHTML)"""
    )
    assert nameless == []


def test_a_picture_is_shown_with_its_boxes(opened, two_faces, tmp_path):
    picture = tmp_path / "face.png"
    cv2.imwrite(str(picture), np.full((120, 160, 3), 90, np.uint8))
    page = opened(
        write_detection_page(
            detections_of(two_faces("face.png", num_frames=1)), picture, tmp_path / "face.html"
        )
    )
    drawn = "new Set(document.getElementById('overlay').getContext('2d').getImageData(0,0,400,300).data).size"
    until(page, f"{drawn} > 2")
    page.uncheck("#boxes")
    assert page.evaluate(drawn) == 1
