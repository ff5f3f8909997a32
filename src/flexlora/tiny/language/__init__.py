"""A small language of functions: its tree (`ir`), what it means (`interpret`), and a file for each language it is
written in. Nothing here knows which problems there are.
"""

from flexlora.tiny.language import cpp, java, js, py
from flexlora.tiny.language.rendering import Renderer

RENDERERS: dict[str, Renderer] = {"py": py.Python(), "java": java.Java(), "js": js.JavaScript(), "cpp": cpp.Cpp()}
