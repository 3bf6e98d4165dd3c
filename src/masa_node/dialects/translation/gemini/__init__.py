"""Google's Gemini API: of callers only."""
