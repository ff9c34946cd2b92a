"""The sign-in page: plain HTML, so that it works before anything else is loaded."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from app.accountgate import COOKIE
from app.auth import DEMO_ACCOUNTS, DEMO_PASSWORD, SessionLimits, sign_in, sign_out
from app.wiring import City, wall_now

TEXTS: dict[str, dict[str, Any]] = {
    "en": {
        "title": "Sign in",
        "name": "Account",
        "password": "Password",
        "go": "Sign in",
        "wrong": "The account or the password is wrong.",
        "demo": "This city is simulated. Look in as:",
        "back": "Back to the open data",
        "roles": {
            "operator": "Grid operator",
            "bureau": "Environmental bureau",
            "enterprise": "Enterprise",
            "admin": "Administrator",
        },
    },
    "zh": {
        "title": "登录",
        "name": "账号",
        "password": "密码",
        "go": "登录",
        "wrong": "账号或密码有误。",
        "demo": "本城市为模拟数据，可用以下身份进入：",
        "back": "返回公开数据",
        "roles": {
            "operator": "电网调度员",
            "bureau": "生态环境部门",
            "enterprise": "企业",
            "admin": "管理员",
        },
    },
}

STYLE = """
:root{color-scheme:light dark;--line:#ced4da;--accent:#1c7ed6;--soft:#868e96}
@media(prefers-color-scheme:dark){:root{--line:#424242;--accent:#4dabf7;--soft:#a6a7ab}}
body{font:16px/1.5 system-ui,"Noto Sans CJK SC","Noto Sans",sans-serif;margin:0;display:grid;
min-height:100vh;place-items:center}
main{width:min(22rem,calc(100vw - 3rem))}
h1{font-size:1.5rem;margin:0 0 1.5rem}
label{display:block;margin:0 0 1rem;color:var(--soft)}
input{display:block;width:100%;box-sizing:border-box;height:40px;font:inherit;padding:0 .75rem;
border:1px solid var(--line);border-radius:6px;margin-top:.25rem}
button{min-height:40px;font:inherit;border-radius:6px;border:1px solid var(--line);
padding:0 1rem;cursor:pointer}
.main{width:100%;background:var(--accent);border-color:var(--accent);color:#fff}
.wrong{border-left:4px solid #e03131;padding:.25rem .75rem}
.demo{margin-top:2rem;border-top:1px solid var(--line);padding-top:1rem}
.demo form{display:inline-block;margin:0 .5rem .5rem 0}
a{color:inherit}
"""


def _safe_next(target: str) -> str:
    """A path of this application, never another host's."""
    return target if target.startswith("/app/") and "//" not in target else "/app/"


def _page(language: str, target: str, *, demo: bool, wrong: bool) -> str:
    text = TEXTS[language]
    hidden = f'<input type="hidden" name="next" value="{html.escape(target)}">'
    hidden += f'<input type="hidden" name="lang" value="{language}">'
    buttons = "".join(
        f'<form method="post" action="/signin">{hidden}'
        f'<input type="hidden" name="name" value="{account.name}">'
        f'<input type="hidden" name="password" value="{DEMO_PASSWORD}">'
        f'<button id="demo-{account.name}">{text["roles"][str(account.role)]}</button></form>'
        for account in DEMO_ACCOUNTS
    )
    return (
        f'<!doctype html><html lang="{language}"><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Verdigrid · {text['title']}</title><style>{STYLE}</style><main>"
        f"<h1>Verdigrid · {text['title']}</h1>"
        + (f'<p class="wrong" role="alert">{text["wrong"]}</p>' if wrong else "")
        + f'<form method="post" action="/signin">{hidden}'
        f'<label>{text["name"]}<input name="name" autocomplete="username" required autofocus>'
        f"</label><label>{text['password']}"
        '<input name="password" type="password" autocomplete="current-password" required></label>'
        f'<button class="main">{text["go"]}</button></form>'
        + (f'<section class="demo"><p>{text["demo"]}</p>{buttons}</section>' if demo else "")
        + f'<p><a href="/app/?lang={language}">{text["back"]}</a></p></main></html>'
    )


def signin_router(known: Callable[[], City], limits: SessionLimits) -> APIRouter:
    """GET and POST /signin, GET and POST /signout. known: the city as it is described now."""
    router = APIRouter(include_in_schema=False)

    @router.get("/signin")
    def ask(lang: str = "en", next: str = "/app/") -> Response:
        language = lang if lang in TEXTS else "en"
        page = _page(language, _safe_next(next), demo=known().site.simulated, wrong=False)
        return HTMLResponse(page)

    @router.post("/signin")
    def enter(
        request: Request,
        name: Annotated[str, Form(max_length=100)],
        password: Annotated[str, Form(max_length=1000)],
        next: Annotated[str, Form(max_length=2000)] = "/app/",
        lang: Annotated[str, Form(max_length=5)] = "en",
    ) -> Response:
        language = lang if lang in TEXTS else "en"
        target = _safe_next(next)
        token = sign_in(known().database, name, password, now=wall_now(), limits=limits)
        if token is None:
            page = _page(language, target, demo=known().site.simulated, wrong=True)
            return HTMLResponse(page, 401)
        response = RedirectResponse(quote(target, safe="/?&=%:+,;.-_~"), 303)
        response.set_cookie(
            COOKIE,
            token,
            max_age=int(limits.absolute.total_seconds()),
            httponly=True,
            samesite="lax",
            secure=request.url.scheme == "https",
        )
        return response

    @router.api_route("/signout", methods=["GET", "POST"])
    def leave(request: Request) -> Response:
        token = request.cookies.get(COOKIE, "")
        if token:
            sign_out(known().database, token)
        response = RedirectResponse("/app/", 303)
        response.delete_cookie(COOKIE)
        return response

    return router
