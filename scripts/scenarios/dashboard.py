"""The page of the control plane in a real browser. SHOTS=DIRECTORY keeps pictures of it."""
import os
import pathlib
import shutil
import smtplib
import time

from mailworld import CONTROL_PORT, MX_PORT, RELAY, SMTP_PORT, Skipped, World, claim, eventually
from scenarios.base import MESSAGE, Peer, scenario

NET = RELAY.rsplit(".", 1)[0]
HOSTS = {"good": f"{NET}.30", "busy": f"{NET}.31", "none": f"{NET}.32"}
SIZES = {"desk": (1280, 1000), "phone": (390, 844)}
ODD = '"<img src=x onerror=alert(1)>"@busy.test'


def browser():
    try:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service
    except ImportError as missing:
        raise Skipped("no selenium") from missing
    driver = shutil.which("chromedriver")
    if not driver or not shutil.which("chromium"):
        raise Skipped("no chromium")
    options = webdriver.ChromeOptions()
    for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars", "--force-color-profile=srgb"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=Service(driver))


def reply(host):
    def decide(word, _line):
        if word == "RCPT" and host == "busy":
            return "451 4.7.1 later, please"
        if word == "RCPT" and host == "none":
            return "550 5.1.1 nobody of that name"
        return None
    return decide


@scenario(quick=True)
def dashboard():
    chrome = browser()
    try:
        watch(chrome)
    finally:
        chrome.quit()


def watch(chrome):
    with World() as world:
        world.start_dns([f"{name} IN MX 10 mx-{name}\nmx-{name} IN A {address}" for name, address in HOSTS.items()])
        # Reports go there: those that bounced would displace what they are about.
        world.start_relay(routes='[[route]]\ndomain = "c.test"\nto = "discard"\n')
        peers = [Peer(address, port=MX_PORT, decide=reply(name)) for name, address in HOSTS.items()]
        for peer in peers:
            peer.__enter__()
        try:
            with smtplib.SMTP(RELAY, SMTP_PORT, timeout=30) as client:
                for number in range(60):
                    for name in HOSTS:
                        client.sendmail(f"a{number}@c.test", [f"b{number}@{name}.test"], MESSAGE)
                client.sendmail("odd@c.test", [ODD], MESSAGE)
            peers[0].wait_for(60)
            look(chrome, world)
        finally:
            for peer in peers:
                peer.__exit__()


def text(chrome, id):
    return chrome.execute_script("return document.getElementById(arguments[0]).textContent", id)


def look(chrome, world):
    chrome.get(f"http://{RELAY}:{CONTROL_PORT}/")
    eventually("the page is filled", lambda: "busy.test" in text(chrome, "shape") and "nobody of that name" in text(chrome, "bounces"))
    eventually("latencies are shown", lambda: "dot to reply" in text(chrome, "latency"))
    claim(text(chrome, "state") == "ready", text(chrome, "state"))
    claim(" %" in text(chrome, "shards"), "no shard is shown")

    # By keyboard alone: search an address, hold its message, say no first and then yes.
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    wanted = chrome.find_element(By.ID, "wanted")
    wanted.send_keys("b7@busy.test", Keys.ENTER)
    eventually("the message is found", lambda: "later, please" in text(chrome, "answer"))
    claim("TLS" in text(chrome, "answer") or "mx-busy" in text(chrome, "answer"), "explain is shown")
    for answer, state in ((None, "waiting"), ("confirm-yes", "held")):
        hold = next(one for one in chrome.find_elements(By.CSS_SELECTOR, "#answer button") if one.text == "Hold")
        hold.send_keys(Keys.ENTER)
        eventually("it asks first", lambda: chrome.find_element(By.ID, "confirm").is_displayed())
        if answer:
            chrome.find_element(By.ID, answer).send_keys(Keys.ENTER)
        else:
            chrome.switch_to.active_element.send_keys(Keys.ENTER)  # the harmless answer has the focus
        eventually(f"it is {state}", lambda: state_of(world, "b7@busy.test") == state)
    eventually("the page says so", lambda: "held" in text(chrome, "answer"))
    next(one for one in chrome.find_elements(By.CSS_SELECTOR, "#answer button.link")).send_keys(Keys.ENTER)
    eventually("its life is shown", lambda: "What happened to it" in text(chrome, "answer") and "ordered" in text(chrome, "answer"))

    redirect(chrome, world)

    # An address that is no text but markup stays text.
    wanted = chrome.find_element(By.ID, "wanted")
    wanted.clear()
    wanted.send_keys(ODD, Keys.ENTER)
    eventually("the odd one is found", lambda: "onerror" in text(chrome, "answer"))
    claim(not chrome.find_elements(By.TAG_NAME, "img"), "an address became an element")
    for attribute in ("aria-labelledby", "for"):
        loose = chrome.execute_script("return [...document.querySelectorAll(`[${arguments[0]}]`)].map(one => one.getAttribute(arguments[0]))"
                                      ".filter(id => !document.getElementById(id))", attribute)
        claim(not loose, f"{attribute} names nothing: {loose}")
    unnamed = chrome.execute_script("return [...document.querySelectorAll('button, input, select')].filter(one => !one.textContent && "
                                    "!one.labels?.length && !one.ariaLabel).length")
    claim(unnamed == 0, f"{unnamed} controls without a name")
    said = [line["message"] for line in chrome.get_log("browser") if "favicon" not in line["message"] and " 404 " not in line["message"]]
    claim(not said, f"the browser complains: {said}")
    pictures(chrome)


def redirect(chrome, world):
    """Where to is asked first, then whether it is meant; thought better of, nothing happens."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    wanted = chrome.find_element(By.ID, "wanted")
    wanted.clear()
    wanted.send_keys("b8@busy.test", Keys.ENTER)
    eventually("the message is found", lambda: "b8@busy.test" in text(chrome, "answer"))
    for answer, state in (("no", "waiting"), ("yes", None)):
        next(one for one in chrome.find_elements(By.CSS_SELECTOR, "#answer button") if one.text == "Redirect").send_keys(Keys.ENTER)
        eventually("it asks where to", lambda: chrome.find_element(By.ID, "redirect").is_displayed())
        chrome.switch_to.active_element.send_keys("b9@good.test", Keys.ENTER)
        # The words of the last time stand there while it is closed.
        eventually("it asks first", lambda: chrome.find_element(By.ID, "confirm").is_displayed() and "goes to b9@good.test" in text(chrome, "confirm-words"))
        claim("1 message" in text(chrome, "confirm-words"), text(chrome, "confirm-words"))
        chrome.find_element(By.CSS_SELECTOR, f"#confirm button[value={answer}]").send_keys(Keys.ENTER)
        eventually(f"it is {state}", lambda: state_of(world, "b8@busy.test") == state)
    eventually("the page says so", lambda: "Redirect: 1 message" in text(chrome, "state") or "No message waits" in text(chrome, "answer"))


def state_of(world, address):
    states = [recipient["state"] for entry in world.queue() for recipient in entry["recipients"] if recipient["address"] == address]
    return states[0] if states else None


def pictures(chrome):
    for name, (width, height) in SIZES.items():
        chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": name == "phone"})
        for scheme in ("light", "dark"):
            chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
            time.sleep(0.3)
            wide = chrome.execute_script("return document.documentElement.scrollWidth")
            claim(wide <= width, f"{name}: the page is {wide} wide, the screen {width}")
            if place := os.environ.get("SHOTS"):
                shot = chrome.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
                import base64
                pathlib.Path(place, f"{name}-{scheme}.png").write_bytes(base64.b64decode(shot["data"]))
